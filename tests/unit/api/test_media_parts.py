"""Media in messages: what clients write, and the places that they get among a prompt's tokens."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frontend.api.fields.messages import check_messages
from frontend.api.prompts.media import check_taken, padded_runs, place_media
from frontend.http.ignored import Ignored
from frontend.media.part import MediaItem, MediaSource
from frontend.models.served import ServedModel
from kv_events.media_pads import Padded
from protocol.errors import InvalidRequest, UnsupportedParameter
from protocol.media import MediaTaken
from protocol.tokens import pack_tokens, unpack_tokens
from workers.sglang.media import engine_prompt

URL = "data:image/png;base64,AAAA"
IMAGE, VIDEO = 9, 10
SEES = MediaTaken(IMAGE, VIDEO, counts_images=True)


def user(*parts: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": list(parts)}]


@pytest.mark.parametrize(
    ("part", "source"),
    [
        ({"type": "image_url", "image_url": {"url": URL}}, ("image", URL, "image_url.url")),
        ({"type": "image_url", "image_url": URL}, ("image", URL, "image_url")),
        ({"type": "input_image", "image_url": URL}, ("image", URL, "image_url")),
        ({"type": "video_url", "video_url": {"url": "x"}}, ("video", "x", "video_url.url")),
        ({"type": "audio_url", "audio_url": {"url": "x"}}, ("audio", "x", "audio_url.url")),
        (
            {"type": "input_audio", "input_audio": {"data": "AA", "format": "mp3"}},
            ("audio", "data:audio/mp3;base64,AA", "input_audio.data"),
        ),
    ],
)
def test_a_part_is_taken_out_and_named(part: dict[str, Any], source: tuple[str, str, str]) -> None:
    messages = user({"type": "text", "text": "a"}, part)
    (found,) = check_messages(messages)
    modality, url, field = source
    assert found == MediaSource(cast("Any", modality), url, f"messages[0].content[1].{field}")
    assert messages[0]["content"] == [{"type": "text", "text": "a"}, {"type": modality}]


@pytest.mark.parametrize(
    ("part", "param"),
    [
        ({"type": "image_url"}, "image_url.url"),
        ({"type": "image_url", "image_url": {"url": 7}}, "image_url.url"),
        (
            {"type": "image_url", "image_url": {"url": URL, "detail": "fine"}},
            "image_url.detail",
        ),
        ({"type": "input_audio", "input_audio": {"data": "AA", "format": "x"}}, "input_audio"),
        ({"type": "picture"}, "type"),
    ],
)
def test_a_malformed_part_is_named(part: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        check_messages(user(part))
    assert raised.value.param == f"messages[0].content[0].{param}"


def test_a_detail_that_changes_nothing_is_ignored_by_name() -> None:
    ignored = Ignored("ignore")
    part = {"type": "image_url", "image_url": {"url": URL, "detail": "low"}}
    assert len(check_messages(user(part, part), ignored)) == 2
    assert ignored.names == ("messages.content.detail",)


@pytest.mark.parametrize(("kind", "name"), [("video_url", "fps"), ("video_url", "max_frames")])
def test_what_processors_decide_is_ignored_by_name(kind: str, name: str) -> None:
    ignored = Ignored("ignore")
    check_messages(user({"type": kind, kind: {"url": URL, name: 2}}), ignored)
    assert ignored.names == (f"messages.content.{kind}.{name}",)


def test_media_come_in_the_order_of_the_messages() -> None:
    one, two, three = ({"type": "image_url", "image_url": {"url": name}} for name in "abc")
    tool = {"role": "tool", "tool_call_id": "1", "content": [three]}
    assert [each.url for each in check_messages([*user(one, two), tool])] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("taken", "modality", "says"),
    [
        (None, "image", "takes text only, no image"),
        (MediaTaken(), "image", "takes text only, no image"),
        (MediaTaken(IMAGE), "video", "takes text and images, no video"),
        (MediaTaken(audio_token_id=IMAGE), "image", "takes text and audio, no image"),
        (SEES, "audio", "takes text and images and videos, no audio"),
    ],
)
def test_what_a_model_does_not_take_is_refused(
    taken: MediaTaken | None, modality: Any, says: str
) -> None:
    check_taken(SEES, [MediaSource("image", URL, "p")])
    with pytest.raises(UnsupportedParameter, match=says) as raised:
        check_taken(taken, [MediaSource(modality, URL, "p")])
    assert raised.value.param == "p"


class Counts:
    """A picture takes as many tokens as it is wide."""

    async def tokens(self, sizes: Any) -> list[int]:
        return [width for width, _ in sizes]


def served(*, counts: bool = True) -> ServedModel:
    made = SimpleNamespace(card=SimpleNamespace(media=SEES), image_counts=Counts())
    if not counts:
        made.image_counts = None
    return cast("ServedModel", made)


def item(width: int, modality: Any = "image") -> MediaItem:
    return MediaItem(modality, b"x", width, 1, "png", 100 + width, f"p{width}")


async def test_pictures_take_their_places() -> None:
    ids = pack_tokens([1, IMAGE, 2, VIDEO, IMAGE, 3])
    items = [item(3), item(0, "video"), item(2)]
    token_ids, media = await place_media(served(), ids, items)
    assert [*unpack_tokens(token_ids)] == [1, IMAGE, IMAGE, IMAGE, 2, VIDEO, IMAGE, IMAGE, 3]
    assert [(each.at, each.tokens, each.digest, each.param) for each in media] == [
        (1, 3, 103, "p3"),
        (5, 0, 100, "p0"),
        (6, 2, 102, "p2"),
    ]
    assert padded_runs(media) == [Padded(1, 3, 103), Padded(5, 0, 100), Padded(6, 2, 102)]
    assert engine_prompt(token_ids, media) == ids
    same, uncounted = await place_media(served(counts=False), ids, items)
    assert (same, [each.tokens for each in uncounted]) == (ids, [0, 0, 0])


@pytest.mark.parametrize(
    ("ids", "items"),
    [
        ([1, 2], [item(3)]),
        ([IMAGE, IMAGE], [item(3)]),
        ([VIDEO], [item(3)]),
        ([IMAGE, VIDEO], [item(0, "video"), item(3)]),
    ],
)
async def test_texts_that_write_the_tokens_of_media_are_refused(
    ids: list[int], items: list[MediaItem]
) -> None:
    with pytest.raises(InvalidRequest) as raised:
        await place_media(served(), pack_tokens(ids), items)
    assert raised.value.param == "messages"


@given(
    st.lists(
        st.one_of(st.integers(1, 5), st.integers(11, 20).map(lambda width: -width)), max_size=20
    )
)
async def test_an_engine_gets_the_prompt_that_was_there_before(marks: list[int]) -> None:
    ids = pack_tokens([IMAGE if mark < 0 else mark for mark in marks])
    items = [item(-mark) for mark in marks if mark < 0]
    token_ids, media = await place_media(served(), ids, items)
    assert engine_prompt(token_ids, media) == ids
