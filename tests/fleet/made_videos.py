"""Videos that simulated workers make for tests."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import httpx
import openai
from openai.types import Video

from starter.addresses import Addresses
from starter.process import Process
from tests.kit.fleet import Fleet
from tests.kit.forks import start_light

MODEL: Final = "sim-film"
WORKER: Final = ("--video-generation-worker", "--served-model-name", MODEL)

QUICK: Final[dict[str, Any]] = {"nvext": {"fps": 8, "num_inference_steps": 2}}
"""Is made in some milliseconds at the size SMALL."""
LONG: Final[dict[str, Any]] = {"nvext": {"fps": 8, "num_inference_steps": 1_000}}
"""Takes half a minute at the size LARGE, and a second of it comes to an end in time."""
SOME: Final[dict[str, Any]] = {"nvext": {"fps": 8, "num_inference_steps": 60}}
"""Takes two seconds at the size LARGE."""
SMALL: Final[Any] = "64x48"
LARGE: Final[Any] = "256x256"
SECOND: Final[Any] = "1"


def begin(client: openai.OpenAI, body: dict[str, Any] = QUICK, size: Any = SMALL) -> Video:
    """Begin a job of a second's video."""
    return client.videos.create(
        model=MODEL,  # type: ignore[arg-type]
        prompt="a red circle on blue",
        seconds=SECOND,
        size=size,
        extra_body=body,
    )


def begin_long(client: openai.OpenAI) -> Video:
    """Begin a job that is not made before it is stopped."""
    return begin(client, LONG, LARGE)


def wait_for(client: openai.OpenAI, video: Video, fleet: Fleet, *status: str) -> Video:
    """Wait until a job has one of these states, and return it."""
    found: list[Video] = []

    def reached() -> bool:
        found[:] = [client.videos.retrieve(video.id)]
        return found[0].status in status

    fleet.wait_until(reached, f"the job is {' or '.join(status)}")
    return found[0]


def second_frontend(fleet: Fleet, *options: str) -> tuple[Addresses, Process]:
    """Start another frontend of the fleet."""
    addresses = Addresses()
    command = addresses.frontend_command(*options)
    return addresses, fleet.launch("frontend", command, by=start_light)


@contextmanager
def asking(addresses: Addresses) -> Iterator[openai.OpenAI]:
    """A client of a frontend."""
    with openai.OpenAI(
        base_url=f"{addresses.url}/v1", api_key="none", max_retries=0, timeout=60
    ) as client:
        yield client


def metric(fleet: Fleet, name: str, labels: str = "") -> float:
    """What a metric of the frontend says, added up."""
    lines = httpx.get(f"{fleet.url}/metrics").text.splitlines()
    said = [line for line in lines if line.startswith(name) and labels in line]
    return sum(float(line.rpartition(" ")[2]) for line in said)
