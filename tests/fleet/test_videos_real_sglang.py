"""Videos in prompts on real SGLang: three families that see, one worker each, in one mesh."""

import fcntl
import json
import os
import signal
import termios
from array import array
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import openai
import psutil
import pytest

from tests.fleet.pictures import data_url, picture
from tests.fleet.real_fleets import RealFleets
from tests.fleet.seeing import ASKED, FAMILIES, seeing_workers
from tests.fleet.test_kv_real_sglang import settle
from tests.fleet.videos import video
from tests.kit.fleet import Fleet
from tests.kit.forks import run_with_sglang

pytestmark = [pytest.mark.sglang, pytest.mark.timeout(500)]

REFERENCE = Path(__file__).parents[1] / "sglang" / "video_reference.py"
DECODER = "workers.sglang.decoding.program"
NEW = 12
VIDEO_MARK, PICTURE_MARK = "data:video/mp4", "data:image/png"
RED, BLUE = data_url(video("red.mp4"), "video/mp4"), data_url(video("blue.mp4"), "video/mp4")
DISC, OTHER_DISC = data_url(picture("red")), data_url(picture("blue"))
CHATS = [
    ["Nothing to see."],
    [RED, "What is it?"],
    [BLUE, "What is it?"],
    ["First", RED, "then", BLUE, "!"],
    ["First", BLUE, "then", RED, "!"],
    [DISC, RED, "x"],
    [RED, DISC, "x"],
    [data_url(video("green.webm"), "video/webm"), "x"],
]


@pytest.fixture(scope="module")
def real(real_fleets: RealFleets, seeing_models: dict[str, Path]) -> Fleet:
    return real_fleets.of(*seeing_workers(seeing_models))


@pytest.fixture
def client(real: Fleet) -> Iterator[openai.OpenAI]:
    with real.client() as client:
        yield client


def part(each: str) -> dict[str, Any]:
    if each.startswith("data:image"):
        return {"type": "image_url", "image_url": {"url": each}}
    if each.startswith("data:video"):
        return {"type": "video_url", "video_url": {"url": each}}
    return {"type": "text", "text": each}


def ask(client: openai.OpenAI, model: str, parts: list[str], **options: Any) -> Any:
    return client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": [part(each) for each in parts]}],  # type: ignore[misc,list-item]
        **{"temperature": 0, "max_tokens": NEW, **options},
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_watched_equals_transformers(
    client: openai.OpenAI, seeing_models: dict[str, Path], family: str
) -> None:
    ended = run_with_sglang(REFERENCE, seeing_models[family], NEW, given=json.dumps(CHATS))
    assert ended.returncode == 0, ended.stderr[-3000:]
    expected = json.loads(ended.stdout)
    assert len({tuple(ids) for ids, _ in expected}) == len(CHATS)  # or nothing would be proven
    for chat, (ids, prompt_tokens) in zip(CHATS, expected, strict=True):
        exact = {"return_token_ids": True, "ignore_eos": True}
        answer = ask(client, family, chat, extra_body=exact)
        assert answer.choices[0].token_ids == ids
        assert answer.usage.prompt_tokens == prompt_tokens
        told = answer.usage.prompt_tokens_details.model_dump()
        assert told.get("image_tokens", 0) == 6 * sum(each is DISC for each in chat)
        watched = any(each.startswith("data:video") for each in chat)
        assert watched == (told.get("video_tokens", 0) > 0)
        *streamed, last = ask(
            client,
            family,
            chat,
            extra_body=exact,
            stream=True,
            stream_options={"include_usage": True},
        )
        assert [
            token for chunk in streamed for choice in chunk.choices for token in choice.token_ids
        ] == ids
        assert last.usage.prompt_tokens_details.model_dump().get("video_tokens") == told.get(
            "video_tokens"
        )


def test_the_same_video_is_found_again_and_no_other_is(real: Fleet, client: openai.OpenAI) -> None:
    """Of a video nobody but the engine knows how many tokens it takes, so that the router expects
    what is before it, or less, and the engine finds all.
    """
    words, more = "c" * 40, "d" * 40
    before = 32  # whole pages of the template's head and the words
    cases: list[tuple[str, list[str], int, int]] = [
        ("the first", [words, RED, more], 0, 0),
        ("the same again", [words, RED, more], -1, before),
        ("the other video", [words, BLUE, more], before, before),
        ("that again", [words, BLUE, more], -1, before),
        ("a picture behind it", ["v", RED, DISC, words], 0, 0),
        ("both again", ["v", RED, DISC, words], -1, 0),
        ("a picture before it", ["v", DISC, RED, words], 0, 0),
        ("both again, so", ["v", DISC, RED, words], -1, 16),
    ]
    for name, parts, actual, predicted in cases:
        settle(real)
        answer = ask(client, "qwen2.5-vl", parts, extra_body={"nvext": ASKED})
        pages = (answer.usage.prompt_tokens - 1) // 16 * 16
        told = answer.nvext["cached_tokens"]
        assert (name, told["actual"]) == (name, pages if actual < 0 else actual)
        assert (name, told["predicted"]) == (name, predicted)
        assert answer.usage.prompt_tokens_details.cached_tokens == told["actual"]


def test_a_picture_beside_a_video_is_known_by_its_own_digest(
    real: Fleet, client: openai.OpenAI
) -> None:
    """Given SGLang's order of media, the video would be known by the picture's."""
    first = ask(client, "qwen2-vl", [RED, DISC, "x"])
    video_tokens = first.usage.prompt_tokens_details.model_dump()["video_tokens"]
    settle(real)
    other = ask(client, "qwen2-vl", [RED, OTHER_DISC, "x"], extra_body={"nvext": ASKED})
    assert other.nvext["cached_tokens"]["actual"] >= video_tokens // 16 * 16


@pytest.mark.parametrize(
    ("parts", "at", "says"),
    [
        ([data_url(video("red.mp4")[:700], VIDEO_MARK[5:]), "x"], 0, "damaged"),
        (["x", RED, data_url(video("red.mp4")[:700], VIDEO_MARK[5:])], 2, "damaged"),
        ([RED, data_url(picture("red")[:90]), "x"], 1, "damaged"),
        ([data_url(video("bomb.mp4"), VIDEO_MARK[5:]), "x"], 0, "160 frames of 2560 x 2048 pixels"),
        ([data_url(video("still.mp4"), VIDEO_MARK[5:]), "x"], 0, "cannot be used"),
        ([data_url(picture("red"), VIDEO_MARK[5:]).replace(PICTURE_MARK, VIDEO_MARK)], 0, "MP4"),
        ([RED] * 9, 8, "at most 8 videos"),
    ],
)
def test_what_cannot_be_watched_is_refused_by_its_place(
    client: openai.OpenAI, parts: list[str], at: int, says: str
) -> None:
    with pytest.raises(openai.BadRequestError, match=says) as raised:
        ask(client, "qwen2.5-vl", parts)
    kind = part(parts[at])["type"]
    assert raised.value.param == f"messages[0].content[{at}].{kind}.url"
    assert ask(client, "qwen2.5-vl", [RED, "x"]).usage.completion_tokens == NEW


def test_the_context_ends_an_answer_whose_prompt_only_the_engine_can_count(
    client: openai.OpenAI,
) -> None:
    for options in ({"max_tokens": openai.NOT_GIVEN}, {"max_tokens": 4_000}):
        answer = ask(client, "qwen3-vl", [RED, "x"], **options)
        assert answer.choices[0].finish_reason in ("stop", "length")
    with pytest.raises(openai.BadRequestError, match="with its videos") as raised:
        ask(client, "qwen2-vl", [data_url(video("long.mp4"), "video/mp4"), "x"])
    assert (raised.value.code, raised.value.param) == ("context_length_exceeded", "messages")


def test_only_chats_take_videos_and_only_answers_count_them(real: Fleet) -> None:
    content = [part(RED), {"type": "text", "text": "x"}]
    base = {"model": "qwen2-vl", "messages": [{"role": "user", "content": content}]}
    source = {"type": "base64", "media_type": "video/mp4", "data": RED.partition(",")[2]}
    blocks = [{"type": "video", "source": source}]
    items = [{"type": "input_video", "video_url": RED}]
    with httpx.Client(base_url=real.url, timeout=60) as http:
        counted = http.post("/tokenize", json=base)
        claude = http.post(
            "/v1/messages",
            json={**base, "max_tokens": 4, "messages": [{"role": "user", "content": blocks}]},
        )
        response = http.post(
            "/v1/responses",
            json={"model": "qwen2-vl", "input": [{"role": "user", "content": items}]},
        )
        content[0]["video_url"]["fps"] = 1
        ignored = http.post("/v1/chat/completions", json={**base, "max_tokens": 4})
    assert [each.status_code for each in (counted, claude, response)] == [400] * 3
    assert counted.json()["error"]["param"] == "messages[0].content[0].video_url.url"
    assert "messages[0].content[0].type" in claude.json()["error"]["message"]
    assert response.json()["error"]["param"] == "input[0].content[0].type"
    assert ignored.status_code == 200
    assert ignored.headers["x-kvmesh-ignored"] == "messages.content.video_url.fps"


def decoder_of(real: Fleet, model: str, client: openai.OpenAI) -> psutil.Process:
    """The process that decodes for a model's worker."""
    ask(client, model, [RED, "x"], max_tokens=1)
    [worker] = [each for each in real.processes[1:] if model in " ".join(each.popen.args)]  # type: ignore[arg-type]
    [decoder] = [
        child
        for child in psutil.Process(worker.popen.pid).children(recursive=True)
        if DECODER in child.cmdline()
    ]
    return decoder


def unread_bytes(decoder: psutil.Process) -> int:
    """What lies in the pipe that it reads."""
    with Path(f"/proc/{decoder.pid}/fd/0").open("rb") as pipe:
        return array("i", fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)))[0]


def test_a_worker_serves_others_while_a_video_is_decoded(
    real: Fleet, client: openai.OpenAI
) -> None:
    decoder = decoder_of(real, "qwen3-vl", client)
    decoder.send_signal(signal.SIGSTOP)
    try:
        with ThreadPoolExecutor(1) as pool:
            watching = pool.submit(ask, client, "qwen3-vl", [BLUE, "held up"])
            with pytest.raises(openai.APITimeoutError):  # this client leaves
                ask(client.with_options(max_retries=0), "qwen3-vl", [RED, "gone"], timeout=1)
            for parts in (["hello"], [DISC, "hello"]):
                assert ask(client, "qwen3-vl", parts).usage.completion_tokens
            assert not watching.done()
            decoder.send_signal(signal.SIGCONT)
            assert watching.result().usage.completion_tokens
    finally:
        decoder.send_signal(signal.SIGCONT)


def test_a_decoder_that_a_video_ends_is_followed_by_another(
    real: Fleet, client: openai.OpenAI
) -> None:
    """decord crashes on some damaged videos; here it is told to."""
    decoder = decoder_of(real, "qwen3-vl", client)
    decoder.send_signal(signal.SIGSTOP)
    with ThreadPoolExecutor(1) as pool:
        watching = pool.submit(ask, client, "qwen3-vl", [RED, "crashed"])
        real.wait_until(lambda: unread_bytes(decoder) > 0, "the video is with the decoder")
        ask(client, "qwen3-vl", ["hello"])
        os.kill(decoder.pid, signal.SIGKILL)
        with pytest.raises(openai.BadRequestError, match="damaged or too large"):
            watching.result()
    assert ask(client, "qwen3-vl", [RED, "again"]).usage.completion_tokens
