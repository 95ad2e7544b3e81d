"""Compose and Docker files name only what exists: there is no Docker daemon in CI to find out."""

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml

from frontend.drain import CUT_S_MAX
from frontend.settings import FrontendSettings
from workers.settings import WorkerSettings

ROOT = Path(__file__).parents[3]
KNOWN_VARIABLES = {
    field.metadata["env"] for kind in (FrontendSettings, WorkerSettings) for field in fields(kind)
}


def _compose(name: str) -> dict[str, Any]:
    return yaml.safe_load((ROOT / name).read_text())


def _ours() -> dict[str, Any]:
    """The services that are kvmesh's own."""
    services = _compose("docker-compose.yml")["services"]
    return {name: service for name, service in services.items() if "build" in service}


def _others() -> dict[str, Any]:
    services = _compose("docker-compose.yml")["services"]
    return {name: service for name, service in services.items() if "build" not in service}


def test_services_are_one_frontend_and_two_workers_built_from_files_that_exist() -> None:
    services = _ours()
    assert {name for name, service in services.items() if "profiles" not in service} == {
        "frontend",
        "worker-0",
        "worker-1",
    }
    for service in services.values():
        assert (ROOT / service["build"]["context"] / service["build"]["dockerfile"]).is_file()
    assert set(_compose("deploy/compose.gpu.yml")["services"]) <= set(services)


def test_a_profile_adds_a_worker_for_each_leg() -> None:
    services = _ours()
    added = {name: one for name, one in services.items() if "profiles" in one}
    assert {name: one["profiles"] for name, one in added.items()} == {
        "prefill-0": ["disaggregated"],
        "decode-0": ["disaggregated"],
        "encode-0": ["multimodal"],
        "multimodal-0": ["multimodal"],
    }
    flags = {
        "prefill-0": ["--disaggregation-mode", "prefill"],
        "decode-0": ["--disaggregation-mode", "decode"],
        "encode-0": ["--multimodal-encode-worker"],
        "multimodal-0": ["--multimodal-worker"],
    }
    for name, service in added.items():
        assert service["command"].split()[:-1] == flags[name]
        same = service.keys() - {"profiles", "command"}
        assert {key: service[key] for key in same} == {
            key: value for key, value in services["worker-0"].items() if key != "command"
        }
        assert name in _compose("deploy/compose.gpu.yml")["services"]


def test_every_variable_in_compose_and_docker_files_is_a_setting() -> None:
    named: set[str] = set()
    for service in _ours().values():
        named |= set(service["environment"])
    for dockerfile in (ROOT / "deploy").glob("Dockerfile.*"):
        for line in re.findall(r"^ENV (.*)$", dockerfile.read_text(), re.MULTILINE):
            named |= set(re.findall(r"(\w+)=", line))
    assert named
    assert named <= KNOWN_VARIABLES


def test_docker_files_copy_paths_that_exist() -> None:
    for dockerfile in (ROOT / "deploy").glob("Dockerfile.*"):
        for sources in re.findall(r"^COPY (.*) \S+$", dockerfile.read_text(), re.MULTILINE):
            for source in sources.split():
                assert (ROOT / source).exists(), (dockerfile.name, source)


def test_secrets_named_by_services_are_declared() -> None:
    compose = _compose("docker-compose.yml")
    for service in compose["services"].values():
        assert set(service.get("secrets", [])) <= set(compose["secrets"])


def _dockerfiles() -> list[str]:
    return [file.read_text() for file in sorted((ROOT / "deploy").glob("Dockerfile.*"))]


def test_what_is_copied_is_not_ignored_and_nothing_else_is_sent() -> None:
    first, *rest = [
        line
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if not line.startswith("#")
    ]
    assert first == "*"
    sent = {line.removeprefix("!") for line in rest if line.startswith("!")}
    copied = {
        source
        for text in _dockerfiles()
        for found in re.findall(r"^COPY (.*) \S+$", text, re.MULTILINE)
        for source in found.split()
    }
    assert copied == sent


def test_a_change_of_the_sources_installs_none_of_their_needs_again() -> None:
    for text in _dockerfiles():
        needs, sources = text.index("/tmp/needs.txt &&"), text.index("COPY protocol")
        assert needs < sources
        assert "pip install --no-deps ." in text[sources:].replace("--no-cache-dir ", "")


def test_the_user_of_the_images_owns_what_is_mounted_into_their_home() -> None:
    for text in _dockerfiles():
        assert "useradd --create-home --uid 1000 kvmesh" in text
    services = _ours()
    homes = [mount for mount in services["frontend"]["tmpfs"] if mount.startswith("/home/kvmesh")]
    # without options it is root's, and so is a volume on what is not there
    assert homes == ["/home/kvmesh:uid=1000,gid=1000,mode=0700"]
    assert services["worker-0"]["volumes"] == ["cache:/home/kvmesh/.cache"]
    assert "install -d -o kvmesh -g kvmesh /home/kvmesh/.cache" in _dockerfiles()[1]


def test_every_service_is_reaped_for_and_has_the_time_to_drain() -> None:
    services = _ours()
    assert all(service["init"] is True for service in services.values())
    assert services["frontend"]["stop_grace_period"] == "45s"
    assert FrontendSettings().http_graceful_shutdown_timeout_secs < 45 - CUT_S_MAX
    assert services["worker-0"]["stop_grace_period"] == "16m"
    assert WorkerSettings().graceful_shutdown_timeout_secs < 16 * 60


def test_the_health_check_asks_no_proxy() -> None:
    text = _dockerfiles()[0]
    assert "http.client" in text[text.index("HEALTHCHECK") :]
    assert "urllib" not in text


def test_what_is_others_belongs_to_a_profile_is_of_one_version_and_this_hosts_alone() -> None:
    others = _others()
    assert set(others) == {"prometheus", "grafana"}
    for service in others.values():
        assert service["profiles"] == ["observability"]
        assert re.fullmatch(r"[a-z/]+:v?\d+\.\d+\.\d+", service["image"])
        assert service["init"] is True
        assert service["cap_drop"] == ["ALL"]
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])


def test_what_is_mounted_from_here_exists_and_cannot_be_changed() -> None:
    compose = _compose("docker-compose.yml")
    for service in compose["services"].values():
        for mount in service.get("volumes", []):
            source, *rest = mount.split(":")
            if source.startswith("."):
                assert (ROOT / source).is_file(), source
                assert rest[-1] == "ro"
            else:
                assert source in compose["volumes"]


def test_prometheus_scrapes_every_service_where_it_tells_its_metrics() -> None:
    config = yaml.safe_load((ROOT / "deploy" / "observability" / "prometheus.yml").read_text())
    found = {}
    for job in config["scrape_configs"]:
        (names,) = job["dns_sd_configs"]
        found |= dict.fromkeys(names["names"], names["port"])
    services = _ours()
    assert set(found) == set(services)
    port = int(services["frontend"]["ports"][0].rpartition(":")[2])
    assert found.pop("frontend") == port == FrontendSettings().http_port
    for name, port in found.items():
        told = services[name]["environment"]
        assert (told["DYN_SYSTEM_HOST"], int(told["DYN_SYSTEM_PORT"])) == ("0.0.0.0", port)


def test_grafana_is_told_of_prometheus_and_of_the_board() -> None:
    folder = ROOT / "deploy" / "observability" / "grafana"
    (source,) = yaml.safe_load((folder / "datasources.yml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
    (provider,) = yaml.safe_load((folder / "boards.yml").read_text())["providers"]
    grafana = _others()["grafana"]
    places = {mount.split(":")[0]: mount.split(":")[1] for mount in grafana["volumes"]}
    board = places["./deploy/observability/grafana/kvmesh.json"]
    assert Path(board).parent == Path(provider["options"]["path"])
    assert grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"] == board
