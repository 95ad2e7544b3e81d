"""KV routing on real SGLang: what the router expects to be cached is what the engine finds, by
cases; and that it pays.
"""

import random
import socket
from typing import Any

import openai
import psutil
import pytest
import zmq
from zmq.utils.monitor import parse_monitor_message

from starter.ports import SLOT_PORTS, reserve_ports
from tests.fleet.listeners import off_loopback, open_to_others, paths, ports
from tests.fleet.real_fleets import RealFleets
from tests.fleet.test_kv_routing import metrics, workers_of
from tests.kit.fleet import Fleet

pytestmark = [pytest.mark.sglang, pytest.mark.timeout(500)]

MODEL = "kvmesh-demo"
PAGE = 16
CACHE_TOKENS = 2048
NO_GRAMMARS = ("--grammar-backend", "none")
"""Nor the process that would try them, 5 s of CPU for each worker."""
ASKED = {"extra_fields": ["worker_id", "cached_tokens"]}


def prompt(length: int, seed: int) -> list[int]:
    return random.Random(seed).choices(range(10, 1900), k=length)


@pytest.fixture(scope="module")
def fleet_of_four(real_fleets: RealFleets) -> Fleet:
    """Two workers of two ranks each, replicas and attention ranks, with small caches.

    Blocks of a page, so that both sides count alike.
    """
    options = (
        *("--dp-size", "2"),
        *("--max-total-tokens", str(CACHE_TOKENS)),
        *("--kv-block-size", str(PAGE)),
        *NO_GRAMMARS,
    )
    attention = ("--tp-size", "2", "--enable-dp-attention")
    return real_fleets.of(
        (*options, "--worker-id", "w0"), (*options, *attention, "--worker-id", "w1")
    )


def batches(fleet: Fleet) -> float:
    return metrics(fleet)["kvmesh_kv_batches_total"]


def settle(fleet: Fleet) -> None:
    """Wait until the engines are idle and followed: what is predicted then must be what is
    found.
    """

    def quiet() -> bool:
        before = batches(fleet)
        idle = all(
            not any(worker["requests"])
            and (worker["kv_events"] == "current" or worker["service"] == "encode")
            for worker in workers_of(fleet)
        )
        return idle and before == batches(fleet)

    fleet.wait_until(quiet, "the engines are idle")


def ask(
    fleet: Fleet, client: openai.OpenAI, tokens: list[int], **options: Any
) -> tuple[tuple[str, int], int, int]:
    """Rank, predicted and found cached tokens of one request; returns when the events of what it
    computed have come.
    """
    nvext, before = ASKED | options.pop("nvext", {}), batches(fleet)
    answer = client.completions.create(
        model=MODEL,
        prompt=tokens,
        max_tokens=options.pop("max_tokens", 2),
        temperature=0,
        extra_body={"nvext": nvext, **options},
    )
    told: dict[str, Any] = answer.nvext  # type: ignore[attr-defined]
    rank = told["worker_id"]["decode_worker_id"], told["worker_id"]["decode_dp_rank"]
    predicted, found = told["cached_tokens"]["predicted"], told["cached_tokens"]["actual"]
    # whole pages that nobody had: the engine tells of them, sooner or later
    if len(tokens) // PAGE > found // PAGE + 1:
        fleet.wait_until(lambda: batches(fleet) > before, "the events of a new prompt have come")
    return rank, predicted, found


def agree(predicted: int, found: int, length: int) -> bool:
    """SGLang computes one token at least, so of a prompt that is cached whole it finds all pages
    but the last.
    """
    return found == min(predicted, (length - 1) // PAGE * PAGE)


def test_the_table_of_cases(fleet_of_four: Fleet) -> None:
    """Each case: what was asked before on the same rank, what is asked now, how much of it must be
    found.
    """
    shared, other = prompt(200, 1), prompt(200, 2)
    cases: list[tuple[str, list[int], int]] = [
        ("nothing like it", prompt(100, 3), 0),
        ("first of its kind", shared, 0),
        ("the same again", shared, 192),
        ("a part of it", shared[:100], 96),
        ("less than a page", shared[:10], 0),
        ("exactly three pages", shared[:48], 32),
        ("longer", shared + prompt(60, 4), 192),
        ("the longer one again", shared + prompt(60, 4), 256),
        ("branching off within a page", shared[:70] + prompt(50, 5), 64),
        ("another prompt", other, 0),
        ("the first one, still there", shared, 192),
    ]
    pin = {"backend_instance_id": "w1", "dp_rank": 1}
    with fleet_of_four.client() as client:
        for name, tokens, expected in cases:
            settle(fleet_of_four)
            rank, predicted, found = ask(fleet_of_four, client, tokens, nvext=pin)
            assert rank == ("w1", 1)
            assert (name, found) == (name, expected)
            assert agree(predicted, found, len(tokens)), (name, predicted, found)


def test_under_eviction_and_over_all_ranks_the_index_stays_right(fleet_of_four: Fleet) -> None:
    """Several times what the caches hold goes through them; at every rest the prediction is
    exact.
    """
    rng = random.Random(7)
    starts = [prompt(160, 100 + number) for number in range(24)]
    with fleet_of_four.client() as client:
        for number in range(60):
            ask(
                fleet_of_four,
                client,
                rng.choice(starts)[: rng.randint(40, 160)] + prompt(rng.randint(20, 300), number),
                max_tokens=rng.randint(1, 8),
            )
            if number % 12 == 11:
                settle(fleet_of_four)
                tokens = rng.choice(starts) + prompt(8, number)
                for worker in ("w0", "w1"):
                    for rank in range(2):
                        settle(fleet_of_four)
                        _, predicted, found = ask(
                            fleet_of_four,
                            client,
                            tokens,
                            nvext={"backend_instance_id": worker, "dp_rank": rank},
                        )
                        assert agree(predicted, found, len(tokens)), (
                            number,
                            worker,
                            rank,
                            predicted,
                            found,
                        )
    read = metrics(fleet_of_four)
    blocks = [
        read[f'kvmesh_router_rank_blocks{{dp_rank="{rank}",worker_id="{worker}"}}']
        for worker in ("w0", "w1")
        for rank in range(2)
    ]
    assert all(0 < count <= CACHE_TOKENS / PAGE for count in blocks), blocks
    assert read['kvmesh_relay_losses_total{worker_id="w0"}'] == 0
    assert read['kvmesh_relay_orphans_total{worker_id="w0"}'] == 0


def test_four_ranks_specialise_where_round_robin_would_not(fleet_of_four: Fleet) -> None:
    """Eight prefixes whose copies do not all fit on every rank: kv mode finds them again, and all
    ranks work.
    """
    starts = [prompt(480, 500 + number) for number in range(8)]
    rng = random.Random(3)
    with fleet_of_four.client() as client:
        for start in starts:
            ask(fleet_of_four, client, start + prompt(8, 1))
        settle(fleet_of_four)
        results = [
            ask(fleet_of_four, client, rng.choice(starts) + prompt(24, number))
            for number in range(48)
        ]
    assert sum(found for _, _, found in results) >= 0.9 * 48 * 480
    assert len({rank for rank, _, _ in results}) == 4


def test_nobody_else_reaches_the_inside_of_an_engine(fleet_of_four: Fleet) -> None:
    """Not from other hosts, and where SGLang unpickles or tells prompts not from this one: its
    ports are those of gloo alone.
    """
    workers = fleet_of_four.processes[1:]
    assert off_loopback(fleet_of_four.processes) == []
    assert open_to_others(workers) == []
    names = [path.name for path in paths(workers)]
    per_rank = ("events", "events-1", "replay-1")
    assert {name: names.count(name) for name in (*per_rank, "tokenizer")} == {
        **dict.fromkeys(per_rank, 2),
        "tokenizer": 1,  # the replicas' have names that SGLang made
    }


@pytest.mark.last
def test_a_worker_stops_cleanly_with_its_relay(fleet_of_four: Fleet) -> None:
    worker = fleet_of_four.processes[2]
    assert worker.stop(wait_s_max=60) == 0
    assert worker.children_left() == []
    fleet_of_four.wait_until(
        lambda: len(workers_of(fleet_of_four)) == 1, "the frontend has noticed"
    )
    assert all(
        worker_id not in name for name in metrics(fleet_of_four) for worker_id in ['worker_id="w1"']
    )


def address_of_this_host() -> str:
    """One that other hosts reach, if it has any."""
    addresses = [
        each.address
        for of_one in psutil.net_if_addrs().values()
        for each in of_one
        if each.family == socket.AF_INET
    ]
    return next((address for address in addresses if not address.startswith("127.")), "127.0.0.1")


def let_in(host: str, at: list[int]) -> list[int]:
    """The ports at which ZMQ talks to somebody who comes from another address."""
    assert at, "SGLang listens on the network"
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    watched: dict[Any, int] = {}
    strangers: list[Any] = []
    for port in at:
        strangers.append(stranger := context.socket(zmq.DEALER))
        watched[
            stranger.get_monitor_socket(
                zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_HANDSHAKE_FAILED_AUTH
            )
        ] = port
        stranger.connect(f"tcp://127.0.0.1:0;{host}:{port}")
    poller, entered, answered = zmq.Poller(), [], 0
    for monitor in watched:
        poller.register(monitor, zmq.POLLIN)
    # Those of torch and gloo, which do not speak ZMQ, say nothing.
    while (ready := poller.poll(3_000)) and answered < 100:
        for monitor, _ in ready:
            answered += 1
            if (
                parse_monitor_message(monitor.recv_multipart())["event"]
                == zmq.EVENT_HANDSHAKE_SUCCEEDED
            ):
                entered.append(watched[monitor])
    for each in (*watched, *strangers):
        each.close(linger=0)
    context.term()
    assert answered, "SGLang's ports answer"
    return entered


def test_an_engine_over_two_nodes_is_known_whole(fleet: Fleet) -> None:
    """Attention data parallelism with a rank a node: the second process takes no requests and
    relays its rank under the first one's id.

    They meet on the network, where SGLang unpickles what anybody sends who is let in: nobody but
    the nodes is.
    """
    host = address_of_this_host()
    meeting = f"{host}:{reserve_ports(SLOT_PORTS)}"  # SGLang takes the next ports as well
    key = fleet.directory / "mesh.key"
    key.write_text("5a" * 32)
    engine = (
        "--tp-size",
        "2",
        "--dp-size",
        "2",
        "--enable-dp-attention",
        "--nnodes",
        "2",
        "--dist-init-addr",
        meeting,
    )
    fleet.frontend("--mesh-key-file", str(key))
    options = (
        "--max-total-tokens",
        "2048",
        "--kv-block-size",
        str(PAGE),
        "--mesh-key-file",
        str(key),
        *NO_GRAMMARS,
    )
    follower = fleet.forked_worker(*engine, "--node-rank", "1", *options)
    leader = fleet.forked_worker(*engine, "--node-rank", "0", *options)
    fleet.wait_for_workers(1, wait_s_max=400)
    fleet.wait_until(
        lambda: (
            len([name for name in metrics(fleet) if name.startswith("kvmesh_kv_rank_current")]) == 2
        ),
        "both are followed",
    )
    with fleet.client() as client:
        for rank in range(2):
            tokens = prompt(100, rank)
            for expected in (0, 96):
                settle(fleet)
                (worker, dp_rank), predicted, found = ask(
                    fleet, client, tokens, nvext={"dp_rank": rank}
                )
                assert (dp_rank, predicted, found) == (rank, expected, expected)
                assert worker == f"engine-{meeting}"
    entered = let_in(host, [port for where, port in ports([leader, follower]) if where == host])
    assert entered == []
    # The leader's end is the engine's: the follower ends by itself.
    assert leader.stop(wait_s_max=60) == 0
    assert follower.popen.wait(60) == 0
    assert [node.children_left() for node in (leader, follower)] == [[], []]
