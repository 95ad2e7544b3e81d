"""What workers made is served by its name, whole and in parts, by every frontend."""

import http.client
import json
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from starter.addresses import Addresses, worker_command
from tests.fleet.drawing import DRAWS, MODEL, noise, opened
from tests.fleet.pictures import data_url
from tests.kit.fleet import Fleet
from tests.kit.forks import start_light

LARGE: dict[str, Any] = {"model": MODEL, "prompt": "x", "size": "1600x1600", "seed": 5}
"""Some megabytes, since it has noise in it."""


def asked_for(**options: Any) -> dict[str, Any]:
    return LARGE | {"input_reference": data_url(noise(150))} | options


@pytest.fixture(scope="module")
def drawing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Fleet, Addresses]]:
    """Two frontends of one worker, the other by its addresses."""
    fleet = Fleet(tmp_path_factory.mktemp("drawing"))
    other = Addresses()
    fleet.frontend()
    fleet.launch("frontend", other.frontend_command(), by=start_light)
    command = worker_command([fleet.mesh, other.mesh], "--engine", "sim", *DRAWS)
    fleet.launch("worker", [*command, "--sim-step-ms", "0"], by=start_light)
    fleet.wait_for_workers(1)
    fleet.wait_until(lambda: other.workers_ready() == 1, "the other frontend has it")
    yield fleet, other
    fleet.stop()


@pytest.fixture(scope="module")
def url(drawing: tuple[Fleet, Addresses]) -> str:
    """Where the large picture is."""
    answer = httpx.post(f"{drawing[0].url}/v1/images/edits", json=asked_for(), timeout=60)
    return answer.json()["data"][0]["url"]


@pytest.fixture(scope="module")
def whole(url: str) -> bytes:
    """The large picture."""
    return httpx.get(url).read()


def test_a_picture_is_a_file_with_a_type_and_a_name(url: str, whole: bytes) -> None:
    answer = httpx.get(url)
    assert opened(whole).size == (1600, 1600)
    assert len(whole) > 3_000_000
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["content-length"] == str(len(whole))
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["accept-ranges"] == "bytes"
    assert "immutable" in answer.headers["cache-control"]
    assert answer.headers["content-disposition"] == f'inline; filename="kvmesh-{url[-8:]}.png"'


def test_every_frontend_serves_it(drawing: tuple[Fleet, Addresses], url: str, whole: bytes) -> None:
    _, other = drawing
    assert httpx.get(f"{other.url}/v1/media/{url[-48:]}").read() == whole


@pytest.mark.parametrize(
    ("asked", "part"),
    [
        ("bytes=0-0", slice(0, 1)),
        ("bytes=1000-1999", slice(1000, 2000)),
        ("bytes=262143-524289", slice(262_143, 524_290)),
        ("bytes=-7", slice(-7, None)),
    ],
)
def test_parts_are_served(url: str, whole: bytes, asked: str, part: slice) -> None:
    answer = httpx.get(url, headers={"range": asked})
    assert answer.status_code == 206
    assert answer.content == whole[part]
    first, end, _ = part.indices(len(whole))
    assert answer.headers["content-range"] == f"bytes {first}-{end - 1}/{len(whole)}"


def test_a_part_that_is_not_there(url: str, whole: bytes) -> None:
    answer = httpx.get(url, headers={"range": f"bytes={len(whole)}-"})
    assert answer.status_code == 416
    assert answer.headers["content-range"] == f"bytes */{len(whole)}"
    assert answer.json()["error"]["code"] == "range_not_satisfiable"


def test_who_has_it_already_is_sent_nothing(url: str, whole: bytes) -> None:
    tag = httpx.head(url).headers["etag"]
    answer = httpx.get(url, headers={"if-none-match": tag})
    assert (answer.status_code, answer.content) == (304, b"")
    parts = {"range": "bytes=0-9"}
    assert httpx.get(url, headers=parts | {"if-range": tag}).content == whole[:10]
    assert httpx.get(url, headers=parts | {"if-range": '"another"'}).content == whole


def test_head_is_get_without_the_bytes(url: str, whole: bytes) -> None:
    answer = httpx.head(url, headers={"range": "bytes=0-9"})
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-length"] == str(len(whole))


def test_nothing_else_is_served(drawing: tuple[Fleet, Addresses], url: str) -> None:
    """Neither guesses nor ways out of the folder, whichever way they are written."""
    fleet, _ = drawing
    known = url[-48:]
    names = (
        *("0" * 48, known[:16] + "0" * 32, known[:-1] + ("1" if known[-1] == "0" else "0")),
        *(known.upper(), known[:-1], known + "0", known + ".png", "*", "%00", known + "%00"),
        *(
            "..%2f..%2f..%2fetc%2fpasswd",
            "....//etc/passwd",
            known + "/../x",
            "%2e%2e",
            "a" * 5_000,
        ),
    )
    for name in names:
        connection = http.client.HTTPConnection("127.0.0.1", fleet.http_port, timeout=30)
        connection.request("GET", f"/v1/media/{name}")
        answer = connection.getresponse()
        told = json.loads(answer.read())
        assert answer.status == 404, name
        assert set(told["error"]) == {"message", "type", "param", "code"}
        connection.close()
    posted = httpx.post(url)
    assert (posted.status_code, posted.headers["allow"]) == (405, "GET, HEAD, OPTIONS")


def test_who_leaves_is_forgotten(drawing: tuple[Fleet, Addresses], url: str, whole: bytes) -> None:
    fleet, _ = drawing
    for _ in range(20):
        with httpx.stream("GET", url) as answer:
            assert next(answer.iter_bytes(1_000)) == whole[:1_000]
    none = "kvmesh_frontend_open_requests 0.0"
    fleet.wait_until(lambda: none in httpx.get(f"{fleet.url}/metrics").text, "nobody is served")
    assert httpx.get(url).read() == whole


def test_a_picture_is_no_longer_asked_for_when_its_client_leaves(fleet: Fleet) -> None:
    fleet.frontend()
    fleet.worker(*DRAWS, "--sim-step-ms", "2000")
    fleet.wait_for_workers(1)

    def running() -> int:
        return sum(sum(each["requests"]) for each in fleet.get("/health")[1]["workers"])

    connection = http.client.HTTPConnection("127.0.0.1", fleet.http_port)
    body = json.dumps({"prompt": "x", "size": "1024x1024"})
    connection.request("POST", "/v1/images/generations", body, {"content-type": "application/json"})
    fleet.wait_until(lambda: running() == 1, "it runs")
    connection.close()
    fleet.wait_until(lambda: running() == 0, "it is ended")


@pytest.mark.parametrize("way", ["b64_json", "url", "stream"])
def test_a_worker_that_is_lost_in_the_midst_of_a_picture_cuts_the_answer(
    fleet: Fleet, way: str
) -> None:
    """No error can be told behind half a picture, and what is not whole must not look it."""
    fleet.frontend()
    worker = fleet.worker(*DRAWS, "--sim-step-ms", "0")
    fleet.wait_for_workers(1)
    method, url = "POST", f"{fleet.url}/v1/images/edits"
    body: Any = asked_for(**({"stream": True} if way == "stream" else {"response_format": way}))
    if way == "url":
        method, url = "GET", httpx.post(url, json=body, timeout=60).json()["data"][0]["url"]
        body = None
    with httpx.stream(method, url, json=body, timeout=60) as answer:
        assert answer.status_code == 200
        parts = answer.iter_bytes(50_000)
        next(parts)
        worker.kill()
        with pytest.raises(httpx.RemoteProtocolError):
            list(parts)
    if way == "url":
        fleet.wait_until(lambda: httpx.get(url).status_code == 404, "it is gone with its worker")


def test_a_picture_moves_when_its_worker_is_lost(fleet: Fleet) -> None:
    fleet.frontend()
    workers = {
        name: fleet.worker(*DRAWS, "--sim-step-ms", "300", "--worker-id", name)
        for name in ("w0", "w1")
    }
    fleet.wait_for_workers(2)
    asked: Any = {"model": MODEL, "prompt": "x", "size": "1024x1024", "extra_body": {"seed": 1}}
    with fleet.client() as client:
        undisturbed = client.images.generate(response_format="b64_json", **asked)
        shown = 0
        events = client.images.generate(stream=True, partial_images=3, **asked)
        last: Any = None
        for last in events:
            if last.type == "image_generation.partial_image":
                shown += 1
            if shown == 1:
                shown += 100
                (busy,) = (
                    each["worker_id"]
                    for each in fleet.get("/health")[1]["workers"]
                    if any(each["requests"])
                )
                workers[busy].kill()
    assert last.type == "image_generation.completed"
    assert last.b64_json == (undisturbed.data or [])[0].b64_json


def test_errors_of_workers_are_told(fleet: Fleet) -> None:
    """What only the worker knows to be wrong is an error of the client's field too."""
    fleet.frontend()
    fleet.worker(*DRAWS, "--sim-step-ms", "0")
    fleet.wait_for_workers(1)
    with fleet.client() as client, pytest.raises(openai.BadRequestError) as raised:
        client.images.generate(prompt="x", size="16384x16384")  # pyright: ignore[reportArgumentType]
    assert raised.value.status_code == 400
