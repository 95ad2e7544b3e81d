"""A real Prometheus that scrapes a fleet, as deploy/observability has it but for the addresses."""

import json
import math
import shutil
import urllib.parse
import urllib.request
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import pytest
import yaml

from starter.ports import free_port
from starter.process import REPO, Process
from starter.waiting import wait_until
from tests.kit.fleet import Fleet

CONFIG: Final = REPO / "deploy" / "observability" / "prometheus.yml"

needs_prometheus = pytest.mark.skipif(
    shutil.which("prometheus") is None,
    reason="there is no prometheus on this machine (Debian's package prometheus has one)",
)


@dataclass(frozen=True)
class Prometheus:
    """A Prometheus that answers at this address.

    Attributes:
        targets: how many processes it scrapes.
    """

    url: str
    targets: int
    process: Process

    def ask(self, query: str) -> list[dict[str, Any]]:
        """What a query gives now: labels as `metric`, time and text of the number as `value`.

        Raises:
            OSError: it does not answer, or not as asked.
        """
        words = urllib.parse.urlencode({"query": query})
        with urllib.request.urlopen(f"{self.url}/api/v1/query?{words}", timeout=30) as answer:
            return json.load(answer)["data"]["result"]

    def numbers(self, query: str) -> list[float]:
        """The numbers that a query gives now; what is none is left out."""
        found = [float(each["value"][1]) for each in self.ask(query)]
        return [number for number in found if not math.isnan(number)]

    def ready(self) -> bool:
        """Whether it answers queries."""
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=1) as answer:
                return answer.status == HTTPStatus.OK
        except OSError:
            return False

    def all_scraped(self) -> bool:
        """Whether each target answered."""
        return self.numbers("sum(up)") == [self.targets]


def start_prometheus(fleet: Fleet, *, workers: Sequence[int]) -> Prometheus:
    """Start one that scrapes a fleet's frontend and its workers' system ports, twice a second; the
    fleet ends it.
    """
    folder, port = fleet.directory / "prometheus", free_port()
    folder.mkdir()
    config = yaml.safe_load(CONFIG.read_text())
    config["global"] |= {"scrape_interval": "500ms", "scrape_timeout": "500ms"}
    ports = {"frontends": [fleet.http_port], "workers": list(workers)}
    for job in config["scrape_configs"]:
        del job["dns_sd_configs"]
        job["static_configs"] = [{"targets": _addresses(ports[job["job_name"]])}]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    process = fleet.launch(
        "prometheus",
        [
            *("prometheus", f"--config.file={folder}/prometheus.yml"),
            *(f"--storage.tsdb.path={folder}/data", f"--web.listen-address=127.0.0.1:{port}"),
            "--log.level=warn",
        ],
    )
    prometheus = Prometheus(f"http://127.0.0.1:{port}", 1 + len(workers), process)
    wait_until(prometheus.ready, "Prometheus is ready", [process])
    wait_until(prometheus.all_scraped, "Prometheus has scraped every process", [process])
    return prometheus


def _addresses(ports: Iterable[int]) -> list[str]:
    return [f"127.0.0.1:{port}" for port in ports]
