"""SGLang's --kv-events-config, as it is read, completed and turned into addresses."""

import json
import stat
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.process.own_directory import process_directory
from protocol.process.start_error import StartError
from workers.kv_events_config import (
    PORT_MAX,
    REPLAY_BATCHES,
    KvEventsConfig,
    of_rank,
    read_config,
    stream_addresses,
    with_events,
)

SGLANGS_FIELDS: dict[str, Any] = {
    "publisher": "null",
    "endpoint": "tcp://*:5557",
    "bind": None,
    "replay_endpoint": None,
    "buffer_steps": 10_000,
    "hwm": 100_000,
    "max_queue_size": 100_000,
    "topic": "",
    "format": "default",
}
"""Names and defaults of SGLang 0.5.23."""

FULL: dict[str, Any] = {
    "publisher": "zmq",
    "endpoint": "tcp://127.0.0.1:6000",
    "bind": True,
    "replay_endpoint": "tcp://127.0.0.1:7000",
    "buffer_steps": 5,
    "hwm": 0,
    "max_queue_size": 7,
    "topic": "t",
    "format": "dynamo",
}


def test_the_fields_and_their_defaults_are_sglangs() -> None:
    assert msgspec.structs.asdict(KvEventsConfig()) == SGLANGS_FIELDS
    assert msgspec.structs.asdict(read_config("{}")) == SGLANGS_FIELDS
    assert msgspec.structs.asdict(read_config(json.dumps(SGLANGS_FIELDS))) == SGLANGS_FIELDS


def test_every_field_is_read_and_written_under_sglangs_name() -> None:
    assert set(FULL) == set(SGLANGS_FIELDS)
    assert json.loads(read_config(json.dumps(FULL)).as_json()) == FULL


@settings(max_examples=60, deadline=None)
@given(
    st.builds(
        KvEventsConfig,
        publisher=st.sampled_from(["null", "zmq"]),
        endpoint=st.text(max_size=30),
        bind=st.sampled_from([None, True, False]),
        replay_endpoint=st.none() | st.text(max_size=30),
        buffer_steps=st.integers(1, 2**31 - 1),
        hwm=st.integers(0, 2**31 - 1),
        max_queue_size=st.integers(1, 2**31 - 1),
        topic=st.text(max_size=9),
        format=st.sampled_from(["default", "dynamo"]),
    )
)
def test_a_configuration_survives_its_json(config: KvEventsConfig) -> None:
    assert read_config(config.as_json()) == config
    assert msgspec.structs.asdict(config) == SGLANGS_FIELDS | json.loads(config.as_json())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '"zmq"',
        '{"publisher": "kafka"}',
        '{"publisher": null}',
        '{"format": "vllm"}',
        '{"bind": "yes"}',
        '{"endpoint": 5557}',
        '{"buffer_steps": 0}',
        '{"buffer_steps": 1.5}',
        '{"hwm": -1}',
        '{"hwm": 2147483648}',
        '{"max_queue_size": 0}',
        '{"topics": "a"}',
        '{"publisher": "zmq"} {}',
    ],
)
def test_what_is_no_configuration_is_one_line(text: str) -> None:
    for read in (read_config, with_events):
        with pytest.raises(StartError, match=r"^--kv-events-config: ") as raised:
            read(text)
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize("ranks", [1, 8, 20])
def test_without_a_configuration_each_rank_gets_two_paths_that_nobody_else_reaches(
    ranks: int,
) -> None:
    config = read_config(with_events(None))
    assert (config.publisher, config.bind, config.format, config.buffer_steps) == (
        "zmq",
        True,
        "dynamo",
        REPLAY_BATCHES,
    )
    streams = stream_addresses(config, range(ranks))
    paths = {
        Path(address.removeprefix("ipc://"))
        for stream in streams
        for address in (stream.events, str(stream.replay))
    }
    assert len(paths) == 2 * ranks
    assert {path.parent for path in paths} == {process_directory()}
    assert stat.S_IMODE(process_directory().stat().st_mode) == 0o700
    assert [stream.dp_rank for stream in streams] == list(range(ranks))


def test_a_users_configuration_gets_what_it_lacks_for_replays_and_keeps_the_rest() -> None:
    given_fields = {name: value for name, value in FULL.items() if name != "replay_endpoint"}
    completed = json.loads(with_events(json.dumps(given_fields)))
    assert completed == given_fields | {"replay_endpoint": f"ipc://{process_directory()}/replay"}


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(FULL),
        '{ "publisher": "null" }',
        "{}",
        '{"publisher": "null", "endpoint": "nonsense"}',
    ],
)
def test_a_users_configuration_that_lacks_nothing_is_left_as_it_is(text: str) -> None:
    assert with_events(text) is text


@pytest.mark.parametrize("host", ["*", "0.0.0.0", "[::]"])
def test_a_wildcard_is_reached_over_loopback(host: str) -> None:
    config = KvEventsConfig(
        publisher="zmq", endpoint=f"tcp://{host}:5557", replay_endpoint=f"tcp://{host}:6557"
    )
    (first, second) = stream_addresses(config, [0, 3])
    assert (first.dp_rank, first.events, first.replay) == (
        0,
        "tcp://127.0.0.1:5557",
        "tcp://127.0.0.1:6557",
    )
    assert (second.dp_rank, second.events, second.replay) == (
        3,
        "tcp://127.0.0.1:5560",
        "tcp://127.0.0.1:6560",
    )


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_any_other_host_of_this_machine_is_kept(host: str) -> None:
    config = KvEventsConfig(publisher="zmq", endpoint=f"tcp://{host}:5557", bind=True)
    (stream,) = stream_addresses(config, [2])
    assert (stream.events, stream.replay) == (f"tcp://{host}:5559", None)


def test_events_do_not_leave_the_host() -> None:
    with pytest.raises(StartError, match=r"stay on the host, and tcp://10\.1\.2\.3:5557"):
        stream_addresses(
            KvEventsConfig(publisher="zmq", endpoint="tcp://10.1.2.3:5557", bind=True), [0]
        )


def test_without_a_publisher_there_are_no_streams_whatever_the_rest_says() -> None:
    assert stream_addresses(KvEventsConfig(endpoint="nonsense", bind=False), range(4)) == []


@pytest.mark.parametrize(
    ("endpoint", "bind"),
    [
        ("tcp://127.0.0.1:5557", None),
        ("tcp://localhost:5557", None),
        ("tcp://127.0.0.1:5557", False),
        ("tcp://*:5557", False),
    ],
)
def test_an_endpoint_that_sglang_would_dial_is_an_error(endpoint: str, bind: bool | None) -> None:
    with pytest.raises(StartError, match=r'would connect to .* add "bind": true'):
        stream_addresses(KvEventsConfig(publisher="zmq", endpoint=endpoint, bind=bind), [0])


NO_ADDRESSES = [
    ("", 0),
    ("tcp://", 0),
    ("tcp://*", 0),
    ("tcp://:5557", 0),
    ("tcp://*:", 0),
    ("tcp://*:*", 0),
    ("tcp://*:port", 0),
    ("tcp://*:-1", 2),
    ("tcp://*:+5", 0),
    ("tcp://*:5557/", 0),
    ("*:5557", 0),
    ("ipc://", 0),
    ("inproc://events", 0),
    ("udp://*:5557", 0),
    ("tcp://*:0", 0),
    (f"tcp://*:{PORT_MAX + 1}", 0),
    (f"tcp://*:{PORT_MAX}", 1),
    ("tcp://*:5557", PORT_MAX),
]


@pytest.mark.parametrize(("endpoint", "dp_rank"), NO_ADDRESSES)
def test_what_is_no_address_with_a_port_for_the_rank_is_an_error_that_names_both(
    endpoint: str, dp_rank: int
) -> None:
    with pytest.raises(StartError) as raised:
        of_rank(endpoint, dp_rank)
    assert repr(endpoint) in str(raised.value)
    assert str(raised.value).endswith(f"rank {dp_rank}")
    for config in (
        KvEventsConfig(publisher="zmq", endpoint=endpoint, bind=True),
        KvEventsConfig(
            publisher="zmq",
            endpoint=f"tcp://*:{PORT_MAX - dp_rank}",
            replay_endpoint=endpoint or "nowhere",
        ),
    ):
        with pytest.raises(StartError, match="kv-events-config"):
            stream_addresses(config, [dp_rank])


@settings(max_examples=60, deadline=None)
@given(st.integers(1, PORT_MAX), st.integers(0, 1_023))
def test_ports_count_up_by_rank_as_far_as_there_are_ports(port: int, dp_rank: int) -> None:
    if port + dp_rank > PORT_MAX:
        with pytest.raises(StartError):
            of_rank(f"tcp://*:{port}", dp_rank)
    else:
        assert of_rank(f"tcp://*:{port}", dp_rank) == f"tcp://127.0.0.1:{port + dp_rank}"


def test_ipv6_loopback_needs_no_bind_as_with_sglang() -> None:
    config = KvEventsConfig(publisher="zmq", endpoint="tcp://[::1]:5557")
    assert stream_addresses(config, [0])[0].events == "tcp://[::1]:5557"


def test_sglang_binds_a_path_unasked_and_each_rank_has_its_own() -> None:
    config = KvEventsConfig(publisher="zmq", endpoint="ipc:///run/events")
    assert [stream.events for stream in stream_addresses(config, [0, 3])] == [
        "ipc:///run/events",
        "ipc:///run/events-3",
    ]
