"""Compose and Docker files name only what exists: there is no Docker daemon in CI to find out."""

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml

from frontend.settings import FrontendSettings
from workers.settings import WorkerSettings

ROOT = Path(__file__).parents[3]
KNOWN_VARIABLES = {field.metadata["env"] for kind in (FrontendSettings, WorkerSettings) for field in fields(kind)}


def _compose(name: str) -> dict[str, Any]:
    return yaml.safe_load((ROOT / name).read_text())


def test_services_are_one_frontend_and_two_workers_built_from_files_that_exist() -> None:
    services = _compose("docker-compose.yml")["services"]
    assert set(services) == {"frontend", "worker-0", "worker-1"}
    for service in services.values():
        assert (ROOT / service["build"]["context"] / service["build"]["dockerfile"]).is_file()
    assert set(_compose("deploy/compose.gpu.yml")["services"]) <= set(services)


def test_every_variable_in_compose_and_docker_files_is_a_setting() -> None:
    named: set[str] = set()
    for service in _compose("docker-compose.yml")["services"].values():
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
