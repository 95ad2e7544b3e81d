"""Routing by cached prefix over real processes: who goes where, what is told about it, and what
happens when parts of it die.
"""

import asyncio
import random
import signal
import socket
import urllib.request
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import openai
import pytest

from starter.addresses import Addresses
from starter.ports import free_port
from tests.kit.fleet import Fleet

SIM = (
    "--served-model-name",
    "demo",
    "--sim-speedup",
    "0",
    "--context-length",
    "8192",
    "--kv-block-size",
    "16",
)
ASKED = {"extra_fields": ["worker_id", "timing", "cached_tokens"]}


def prompt(length: int, seed: int) -> list[int]:
    """Token ids of the demo model; no two seeds share a beginning."""
    return random.Random(seed).choices(range(10, 1900), k=length)


def start(fleet: Fleet, *frontend: str, workers: int = 2, worker: tuple[str, ...] = SIM) -> None:
    fleet.frontend(*frontend)
    for number in range(workers):
        fleet.worker(*worker, "--worker-id", f"w{number}")
    fleet.wait_for_workers(workers)
    fleet.wait_until(
        lambda: all(worker["kv_events"] in ("current", "none") for worker in workers_of(fleet)),
        "the KV events are followed",
    )


def workers_of(fleet: Fleet) -> list[dict[str, Any]]:
    return sorted(fleet.get("/health")[1]["workers"], key=lambda worker: worker["worker_id"])


def ask(
    client: openai.OpenAI, tokens: list[int], headers: dict[str, str] | None = None, **nvext: Any
) -> dict[str, Any]:
    """One request; what the answer's nvext says, flattened, with the count of cached tokens in
    usage.
    """
    answer = client.completions.create(
        model="demo",
        prompt=tokens,
        max_tokens=2,
        extra_body={"nvext": ASKED | nvext},
        extra_headers=headers,
    )
    told: dict[str, Any] = answer.nvext  # type: ignore[attr-defined]
    assert answer.usage is not None
    assert answer.usage.prompt_tokens_details is not None
    assert answer.usage.prompt_tokens_details.cached_tokens == told["cached_tokens"]["actual"]
    return {
        "rank": (told["worker_id"]["decode_worker_id"], told["worker_id"]["decode_dp_rank"]),
        "predicted": told["cached_tokens"]["predicted"],
        "actual": told["cached_tokens"]["actual"],
        "queue_ms": told["timing"]["queue_time_ms"],
    }


def metrics(fleet: Fleet) -> dict[str, float]:
    with urllib.request.urlopen(fleet.url + "/metrics", timeout=10) as answer:
        lines = [
            line.rpartition(" ")
            for line in answer.read().decode().splitlines()
            if line and not line.startswith("#")
        ]
    return {name: float(value) for name, _, value in lines}


def test_requests_follow_their_prefix_and_others_spread(fleet: Fleet) -> None:
    start(fleet)
    with fleet.client() as client:
        shared = prompt(320, 1)
        first = ask(client, shared + prompt(40, 2))
        assert (first["predicted"], first["actual"]) == (0, 0)
        followers = [ask(client, shared + prompt(40, seed)) for seed in range(3, 9)]
        assert {told["rank"] for told in followers} == {first["rank"]}
        assert {(told["predicted"], told["actual"]) for told in followers} == {(320, 320)}
        others = {ask(client, prompt(320, seed))["rank"] for seed in range(100, 120)}
        assert len(others) == 2
    read = metrics(fleet)
    assert read['kvmesh_router_decisions_total{mode="kv"}'] == 27
    assert (
        read["kvmesh_router_predicted_cached_tokens_total"]
        == read["kvmesh_router_cached_tokens_total"]
        == 6 * 320
    )
    assert read["kvmesh_router_index_blocks"] > 20
    assert read["kvmesh_router_decision_seconds_count"] == 27
    assert read["kvmesh_kv_event_lag_seconds_count"] > 0
    assert read['kvmesh_kv_rank_current{dp_rank="0",worker_id="w0"}'] == 1


def test_siblings_that_arrive_together_follow_each_other(fleet: Fleet) -> None:
    """n choices of one prompt leave before any event can tell of it; load alone would spread them.

    Both workers are busy: an idle one would be given its part, since nobody there waits for the
    prompt to be computed.
    """
    start(fleet, worker=(*SIM, "--sim-speedup", "1"))
    with fleet.client() as client, ExitStack() as streams:
        for worker in ("w0", "w1"):
            body = {"nvext": {"backend_instance_id": worker}}
            stream = client.completions.create(
                model="demo", prompt=prompt(8, 2), max_tokens=4000, stream=True, extra_body=body
            )
            next(iter(streams.enter_context(stream)))
        answer = client.completions.create(
            model="demo", prompt=prompt(6000, 1), n=4, max_tokens=1, extra_body={"nvext": ASKED}
        )
        assert len(answer.choices) == 4
        assert sorted(worker["cached_blocks"][0] > 0 for worker in workers_of(fleet)) == [
            False,
            True,
        ]


@pytest.mark.parametrize("mode", ["least-loaded", "power-of-two", "round-robin", "random"])
def test_the_other_modes_serve_and_follow_nothing(fleet: Fleet, mode: str) -> None:
    start(fleet, "--router-mode", mode)
    with fleet.client() as client:
        ranks = {ask(client, prompt(64, 1))["rank"] for _ in range(30)}
    assert len(ranks) == 2
    assert metrics(fleet)[f'kvmesh_router_decisions_total{{mode="{mode}"}}'] == 30
    assert {worker["kv_events"] for worker in workers_of(fleet)} == {"none"}


def test_a_request_can_ask_for_its_worker_and_rank(fleet: Fleet) -> None:
    start(fleet, worker=(*SIM, "--dp-size", "3"))
    with fleet.client() as client:
        for worker in ("w0", "w1"):
            for rank in range(3):
                tokens = prompt(100, 1)
                told = ask(client, tokens, backend_instance_id=worker, dp_rank=rank)
                assert (told["rank"], told["actual"]) == ((worker, rank), 0)
                headers = {"x-worker-instance-id": worker, "x-dp-rank": str(rank)}
                again = ask(client, tokens, headers, backend_instance_id="overruled", dp_rank=0)
                # The engine of that very rank has it: the rank reached SGLang's place in the
                # message.
                assert (again["rank"], again["actual"]) == ((worker, rank), 96)
        assert ask(client, prompt(100, 2), dp_rank=2)["rank"][1] == 2
        for wrong in (
            {"backend_instance_id": "nobody"},
            {"dp_rank": 7},
            {"backend_instance_id": "w0", "dp_rank": 3},
        ):
            with pytest.raises(openai.BadRequestError) as raised:
                ask(client, prompt(10, 3), **wrong)
            assert (raised.value.code, raised.value.param) == ("invalid_value", "nvext")
        with pytest.raises(openai.BadRequestError) as raised:
            ask(client, prompt(10, 3), {"x-dp-rank": "first"})
        assert raised.value.param == "x-dp-rank"


def test_a_session_stays_where_it_was(fleet: Fleet) -> None:
    start(fleet, "--router-temperature", "100", worker=(*SIM, "--dp-size", "4"))
    with fleet.client() as client:
        alone = {ask(client, prompt(64, seed))["rank"] for seed in range(30)}
        assert len(alone) > 2
        session = {
            ask(client, prompt(64, seed), {"x-dynamo-session-id": "s"})["rank"]
            for seed in range(30)
        }
        assert len(session) == 1
        assert {
            ask(client, prompt(64, seed), session_id="s")["rank"] for seed in range(30, 40)
        } == session


def test_a_request_can_bring_its_own_weights(fleet: Fleet) -> None:
    start(fleet)
    with fleet.client() as client:
        tokens = prompt(640, 1)
        home = ask(client, tokens)["rank"]
        assert {ask(client, tokens)["rank"] for _ in range(5)} == {home}
        # Without the prefill term nothing draws it home, and equal costs are settled at random.
        assert (
            len({ask(client, tokens, router={"prefill_weight": 0.0})["rank"] for _ in range(30)})
            == 2
        )
        for wrong in ({"prefill_weight": -1}, {"host_weight": 2}):
            with pytest.raises(openai.BadRequestError):
                ask(client, tokens, router=wrong)


@pytest.mark.parametrize("who", ["frontend", "worker"])
def test_without_events_the_routers_own_decisions_count(fleet: Fleet, who: str) -> None:
    no_events = ("--no-kv-events",)
    start(
        fleet,
        *(no_events if who == "frontend" else ()),
        worker=(*SIM, *(no_events if who == "worker" else ())),
    )
    assert {worker["kv_events"] for worker in workers_of(fleet)} == {"none"}
    with fleet.client() as client:
        tokens = prompt(160, 1)
        home = ask(client, tokens)["rank"]
        for seed in range(5):
            told = ask(client, tokens + prompt(20, seed))
            assert (told["rank"], told["predicted"], told["actual"]) == (home, 160, 160)


def test_own_decisions_are_forgotten_after_their_time(fleet: Fleet) -> None:
    start(fleet, "--no-kv-events", "--router-ttl-secs", "0.2")
    with fleet.client() as client:
        ask(client, prompt(160, 1))
    fleet.wait_until(
        lambda: metrics(fleet)["kvmesh_router_index_blocks"] == 0, "the prediction has expired"
    )


def test_streams_and_chats_tell_at_their_end(fleet: Fleet) -> None:
    start(fleet, workers=1)
    with fleet.client() as client:
        chunks = list(
            client.completions.create(
                model="demo", prompt="hi", max_tokens=3, stream=True, extra_body={"nvext": ASKED}
            )
        )
        assert [hasattr(chunk, "nvext") for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
        messages: Any = [{"role": "user", "content": "hi"}]
        chat = client.chat.completions.create(
            model="demo", messages=messages, max_tokens=3, extra_body={"nvext": ASKED}
        )
        assert set(chat.nvext) == {"worker_id", "timing", "cached_tokens"}  # type: ignore[attr-defined]
        plain = client.chat.completions.create(model="demo", messages=messages, max_tokens=3)
        assert not hasattr(plain, "nvext")
        with pytest.raises(openai.BadRequestError) as raised:
            client.chat.completions.create(
                model="demo", messages=messages, extra_body={"nvext": {"extra_fields": ["secrets"]}}
            )
        assert raised.value.param == "nvext.extra_fields[0]"


def test_salts_keep_caches_apart(fleet: Fleet) -> None:
    start(fleet, workers=1)
    with fleet.client() as client:
        tokens = prompt(160, 1)
        assert ask(client, tokens)["actual"] == 0
        assert ask(client, tokens, cache_salt="tenant")["actual"] == 0
        told = ask(client, tokens, cache_salt="tenant")
        # the engine computes the last page for its last token
        assert (told["predicted"], told["actual"]) == (160, 144)


def test_a_restarted_frontend_knows_what_is_cached(fleet: Fleet) -> None:
    start(fleet)
    with fleet.client() as client:
        homes = {seed: ask(client, prompt(320, seed))["rank"] for seed in range(6)}
    fleet.processes[0].stop(signal.SIGKILL)
    fleet.frontend()
    fleet.wait_for_workers(2)
    fleet.wait_until(
        lambda: {worker["kv_events"] for worker in workers_of(fleet)} == {"current"},
        "snapshots came",
    )
    with fleet.client() as client:
        for seed, home in homes.items():
            told = ask(client, prompt(320, seed) + prompt(20, 99))
            assert (told["rank"], told["predicted"], told["actual"]) == (home, 320, 320)
    assert metrics(fleet)["kvmesh_kv_snapshots_total"] >= 2


def test_a_dead_workers_blocks_are_forgotten(fleet: Fleet) -> None:
    start(fleet)
    with fleet.client() as client:
        for seed in range(8):
            ask(client, prompt(320, seed))
        both = metrics(fleet)["kvmesh_router_index_blocks"]
        fleet.processes[1].popen.send_signal(signal.SIGKILL)
        fleet.wait_for_workers(1)
        fleet.wait_until(
            lambda: 0 < metrics(fleet)["kvmesh_router_index_blocks"] < both, "its blocks are gone"
        )
        assert {ask(client, prompt(320, seed))["rank"][0] for seed in range(8)} == {"w1"}


def test_events_that_get_lost_repeated_or_swapped_change_nothing(fleet: Fleet) -> None:
    fleet.frontend()
    for number, fault in enumerate(("kv-drop=3", "kv-duplicate=2", "kv-swap=3")):
        fleet.worker(
            *SIM, "--worker-id", f"w{number}", "--sim-fault", fault, "--max-total-tokens", "2048"
        )
    fleet.wait_for_workers(3)
    with fleet.client() as client:
        for seed in range(60):
            ask(client, prompt(320, seed % 30), backend_instance_id=f"w{seed % 3}")
        for number in range(3):
            # What is still cached shows: asking for it again must find what was predicted.
            def agrees(worker: str = f"w{number}") -> bool:
                told = [
                    ask(client, prompt(320, seed) + prompt(20, 1), backend_instance_id=worker)
                    for seed in range(27, 30)
                ]
                return all(each["predicted"] == each["actual"] for each in told)

            fleet.wait_until(agrees, f"w{number} is predicted right")
    read = metrics(fleet)
    assert read['kvmesh_relay_gaps_total{worker_id="w0"}'] > 0
    assert read['kvmesh_relay_losses_total{worker_id="w0"}'] == 0


def test_a_fleet_of_64_ranks(fleet: Fleet) -> None:
    start(fleet, workers=1, worker=(*SIM, "--dp-size", "64"))
    with fleet.client() as client:
        homes = [ask(client, prompt(320, seed))["rank"] for seed in range(64)]
        assert len(set(homes)) > 30
        for seed, home in enumerate(homes):
            told = ask(client, prompt(320, seed) + prompt(20, 1))
            assert (told["rank"], told["actual"]) == (home, 320)


async def test_two_frontends_that_know_nothing_of_each_other_do_not_herd(fleet: Fleet) -> None:
    """A hot system prompt, eight ranks at a real pace, both frontends at once: every rank gets its
    part, and all find the prompt cached.
    """
    port, mesh = free_port(), f"tcp://127.0.0.1:{free_port()}"
    fleet.frontend()
    fleet.start("frontend", "--http-port", str(port), "--mesh-bind", mesh)
    for number in range(2):
        fleet.worker(
            *SIM,
            "--sim-speedup",
            "1",
            "--dp-size",
            "4",
            "--worker-id",
            f"w{number}",
            "--frontend",
            mesh,
        )
    other = Fleet(fleet.directory, Addresses(port, mesh))
    for each in (fleet, other):
        each.wait_for_workers(2)
    system, turns = prompt(1024, 1), asyncio.Semaphore(32)
    ranks: Counter[tuple[str, int]] = Counter()
    cached: list[int] = []

    async def chat(client: openai.AsyncOpenAI, seed: int) -> None:
        async with turns:
            tokens = system + prompt(64, seed)
            # the client's own checks of a thousand ids take longer than the router
            answer = await client.completions.create(
                model="demo",
                prompt="",
                max_tokens=16,
                extra_body={"prompt": tokens, "nvext": ASKED},
            )
        told: dict[str, Any] = answer.nvext  # type: ignore[attr-defined]
        ranks[told["worker_id"]["decode_worker_id"], told["worker_id"]["decode_dp_rank"]] += 1
        cached.append(told["cached_tokens"]["actual"])

    async with fleet.async_client() as one, other.async_client() as two:
        await asyncio.gather(*(chat((one, two)[number % 2], 100 + number) for number in range(320)))
    assert len(ranks) == 8
    assert max(ranks.values()) <= 1.6 * 320 / 8
    assert min(ranks.values()) >= 0.4 * 320 / 8
    assert sum(found >= 1024 for found in cached) >= 0.8 * 320


def test_kv_events_cross_hosts_under_the_mesh_key(fleet: Fleet, tmp_path: Path) -> None:
    """The mesh on an address that is not loopback: events and snapshots are offered there too, and
    only under the key.
    """
    key = tmp_path / "key"
    key.write_text("ab" * 32)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        host = probe.getsockname()[0]
    fleet.addresses = Addresses(mesh=f"tcp://{host}:{free_port()}")
    start(fleet, "--mesh-key-file", str(key), worker=(*SIM, "--mesh-key-file", str(key)))
    with fleet.client() as client:
        home = ask(client, prompt(320, 1))["rank"]
        assert {ask(client, prompt(320, 1) + prompt(9, seed))["rank"] for seed in range(5)} == {
            home
        }
    assert metrics(fleet)["kvmesh_kv_batches_total"] > 0
    for worker in fleet.processes[1:]:
        assert worker.stop() == 0


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--kv-block-size", "0"), "--kv-block-size"),
        (("--kv-port", "70000"), "--kv-port"),
        (("--kv-events-config", "{}x"), "--kv-events-config"),
        (("--kv-events-config", '{"publisher":"kafka"}'), "publisher"),
        (("--kv-events-config", '{"publisher":"zmq","endpoint":"udp://x:1"}'), "udp://x:1"),
    ],
)
def test_a_worker_with_wrong_kv_settings_says_which(
    fleet: Fleet, arguments: tuple[str, ...], reason: str
) -> None:
    process = fleet.worker(*SIM, *arguments)
    assert process.popen.wait(30) == 3
    assert reason in process.output().splitlines()[-1]


def test_a_worker_says_when_its_kv_port_is_taken(fleet: Fleet) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        process = fleet.worker(*SIM, "--kv-port", str(taken.getsockname()[1]))
        assert process.popen.wait(30) == 3
    assert "cannot publish KV events" in process.output().splitlines()[-1]
