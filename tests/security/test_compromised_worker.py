"""What a worker can do to the frontend and to others' requests when it is in an attacker's
hands.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai
import pytest

from protocol.embedding import Embedded
from protocol.generation import Content, Extras, Generate
from protocol.replies import Delta, StepBatch
from starter.process import Process
from tests.kit.fleet import Fleet
from tests.security.fake_worker import FakeWorker

SERVED_S_MAX = 20.0
"""For another user's chat of a few tokens, on a busy machine: what would be wrong takes for ever,
or a multiple of this.
"""

GROWTH_MIB_MAX = 300
"""Of the frontend: some frames under way, and a tokenizer for each model."""


class Frontend(Fleet):
    """With one honest worker of the model "demo"."""

    process: Process

    @property
    def peak_mib(self) -> int:
        status = Path(f"/proc/{self.process.popen.pid}/status").read_text()
        return (
            next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
            // 1024
        )


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Frontend]:
    fleet = Frontend(tmp_path_factory.mktemp("fleet"))
    fleet.process = fleet.frontend()
    fleet.worker("--served-model-name", "demo", "--sim-speedup", "0", "--context-length", "4096")
    fleet.wait_for_workers(1)
    yield fleet
    fleet.stop()


@contextmanager
def others_are_served(fleet: Frontend) -> Iterator[None]:
    """Another user chats all the while, and every chat is answered in time; memory is bounded."""
    before, done, slowest = fleet.peak_mib, threading.Event(), [0.0]
    failures: list[Exception] = []

    def chat() -> None:
        with fleet.client() as client:
            while not failures:
                begun = time.monotonic()
                try:
                    client.chat.completions.create(
                        model="demo", messages=[{"role": "user", "content": "hi"}], max_tokens=2
                    )
                except Exception as error:  # noqa: BLE001 - told to the test
                    failures.append(error)
                slowest[0] = max(slowest[0], time.monotonic() - begun)
                if done.is_set():
                    return

    thread = threading.Thread(target=chat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(60)
    assert not failures
    assert not thread.is_alive()
    assert slowest[0] < SERVED_S_MAX
    assert fleet.peak_mib - before < GROWTH_MIB_MAX


def _tokens(request: Generate, at: int) -> Delta:
    return Delta(request.request_id, at * 2_000_000, b"\x2c\x01\0\0" * 2_000_000)


def _parts(request: Generate, _: int) -> Delta:
    return Delta(request.request_id, 0, b"", None, Extras([Content("x" * 8_000_000)]))


def _many_parts(request: Generate, _: int) -> Delta:
    return Delta(request.request_id, 0, b"", None, Extras([Content("")] * 65_000))


def _vector(request: Generate, _: int) -> Delta:
    return Delta(request.request_id, 0, b"", Embedded(b"\1\2\3", 1))


@pytest.mark.parametrize("flood", [_tokens, _parts, _many_parts, _vector])
def test_what_a_worker_sends_is_held_to_what_was_asked(
    fleet: Frontend, flood: Callable[[Generate, int], Delta]
) -> None:
    """A gigabyte for one token, or another kind of answer."""

    def answer(fake: FakeWorker, request: Generate) -> None:
        for number in range(40):
            fake.send(StepBatch([flood(request, number)]))

    with others_are_served(fleet), FakeWorker(fleet.mesh, "evil", on_generate=answer) as fake:
        assert not fake.refusal
        with pytest.raises(openai.InternalServerError) as raised:
            _chat(fleet, "evil", "hi")
        assert raised.value.code == "engine_fault"


def test_names_and_reasons_write_no_log_lines_of_their_own(fleet: Frontend) -> None:
    forged = "\nE frontend.app: FORGED\x1b[2J\r\u2028"
    fake = FakeWorker(
        fleet.mesh, "name" + forged, worker_id="id" + forged, engine="engine" + forged
    )
    with others_are_served(fleet), fake:
        pass
    fleet.wait_until(lambda: "left: it said goodbye" in fleet.process.output(), "it left")
    lines = [line for line in fleet.process.output().splitlines() if "FORGED" in line]
    assert lines
    # each begins with the time, as our own do
    assert all(line[:2] == "20" and "\x1b" not in line for line in lines)


def test_a_name_that_an_alias_squats_on_is_its_models(fleet: Frontend) -> None:
    with (
        others_are_served(fleet),
        FakeWorker(fleet.mesh, "squatter", aliases=("demo", "later")) as squatter,
    ):
        assert not squatter.refusal
        with FakeWorker(fleet.mesh, "later") as later:
            assert not later.refusal
            status, model = fleet.get("/v1/models/later")
            assert (status, model["id"]) == (200, "later")


_ON_A_WORD = (
    "{%% if messages[0].content == 'now' %%}%s{%% endif %%}{%% for m in messages %%}{{ m.content "
    "}}{%% endfor %%}"
)
"""A template that is harmless while it is loaded."""


@pytest.mark.parametrize(
    "attack",
    [
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
        (
            "{% set ns = namespace(x='a' * 9999) %}{% for i in range(40) %}{% set ns.x = ns.x ~ "
            "ns.x %}{% endfor %}"
        ),
        (
            "{% set ns = namespace(x=[1, 1]) %}{% for i in range(40) %}{% set ns.x = [ns.x, "
            "ns.x] %}{% endfor %}{{ ns.x | tojson }}"
        ),
        "{{ 'a'.center(messages | length * 300000000) }}",
    ],
)
def test_a_template_keeps_nobody_waiting_and_fills_no_memory(fleet: Frontend, attack: str) -> None:
    with (
        others_are_served(fleet),
        FakeWorker(fleet.mesh, "evil", template=_ON_A_WORD % attack) as fake,
    ):
        assert not fake.refusal
        for _ in range(3):
            with pytest.raises(openai.BadRequestError, match="chat template"):
                _chat(fleet, "evil", "now")


def test_a_template_that_hangs_is_none(fleet: Frontend) -> None:
    """Found out when it is loaded: the model is served without chats."""
    template = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
    with others_are_served(fleet), FakeWorker(fleet.mesh, "evil", template=template) as fake:
        assert not fake.refusal
        with pytest.raises(openai.BadRequestError, match="no chat template"):
            _chat(fleet, "evil", "hi")


def _chat(fleet: Frontend, model: str, content: str) -> Any:
    with fleet.client() as client:
        return client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": content}], max_tokens=1
        )
