"""What requests for pictures mean to a worker, and what is refused of them."""

import struct
import zlib
from typing import Any

import msgspec
import pytest

from frontend.api.fields.diffusion import OF_OPERATORS, size_of, steering_of
from frontend.api.fields.form_bodies import FormBodyParser, Upload
from frontend.api.images.answers import Wanted
from frontend.api.images.conversion import check_images, compression_of, diffuse_of, quality_told
from frontend.api.images.references import FILE_FIELDS, References, read_references
from frontend.api.images.schemas import ImageEditRequest, ImageRequest
from frontend.http.forms import FormPart
from frontend.http.ignored import Ignored
from frontend.media.bounds import MediaBounds
from frontend.media.reader import MediaReader
from protocol.diffusion import Diffuse
from protocol.errors import InvalidRequest, MeshError, UnsupportedParameter
from tests.fleet.pictures import data_url, picture
from tests.unit.http.test_exchange import Server

RED, BLUE = picture("red", (8, 6)), picture("blue", (8, 6))
READER = MediaReader(MediaBounds(item_bytes_max=10_000, pixels_max=10_000))


def made(**fields: Any) -> ImageRequest:
    return msgspec.convert({"prompt": "a fox", **fields}, ImageRequest)


def edit(**fields: Any) -> ImageEditRequest:
    return msgspec.convert({"prompt": "a fox", **fields}, ImageEditRequest)


def diffuse(**fields: Any) -> Diffuse:
    exchange = Server([b""]).exchange
    return diffuse_of(made(**fields), exchange, References([]), model="draws", lora_name=None)


def test_nothing_said_is_left_to_the_worker() -> None:
    plain = diffuse()
    assert (plain.width, plain.height, plain.steps, plain.count) == (0, 0, 0, 1)
    assert (plain.guidance_scale, plain.seed, plain.negative_prompt) == (None, None, "")
    assert (plain.format, plain.compression, plain.previews) == ("png", 100, 0)


def test_fields_of_openai_reach_the_worker() -> None:
    asked = diffuse(
        n=3, size="640x384", output_format="webp", output_compression=40, stream=True,
        partial_images=2, priority=1_000,
    )  # fmt: skip
    assert (asked.count, asked.width, asked.height) == (3, 640, 384)
    assert (asked.format, asked.compression, asked.previews, asked.priority) == ("webp", 40, 2, 100)


STEERED = {"negative_prompt": "cats", "num_inference_steps": 12, "guidance_scale": 2.5, "seed": 7}


@pytest.mark.parametrize("fields", [STEERED, {"nvext": STEERED}, STEERED | {"nvext": STEERED}])
def test_steps_and_seeds_are_taken_from_either_place(fields: dict[str, Any]) -> None:
    asked = diffuse(**fields)
    assert (asked.negative_prompt, asked.steps) == ("cats", 12)
    assert (asked.guidance_scale, asked.seed) == (2.5, 7)


def test_two_places_must_not_differ() -> None:
    with pytest.raises(InvalidRequest) as raised:
        steering_of(made(seed=1, nvext={"seed": 2}))
    assert raised.value.param == "nvext.seed"


def test_a_seed_of_minus_one_is_drawn_by_lot() -> None:
    assert steering_of(made(seed=-1)).seed is None
    assert steering_of(made(seed=0)).seed == 0


@pytest.mark.parametrize(
    ("fields", "size"),
    [
        ({}, (0, 0)),
        ({"size": "auto"}, (0, 0)),
        ({"size": "1024x1536"}, (1024, 1536)),
        ({"size": "1x16384"}, (1, 16384)),
        ({"width": 64, "height": 32}, (64, 32)),
        ({"size": "auto", "width": 64, "height": 32}, (64, 32)),
    ],
)
def test_sizes(fields: dict[str, Any], size: tuple[int, int]) -> None:
    assert size_of(made(**fields)) == size


@pytest.mark.parametrize(
    "size",
    [
        "",
        "1024",
        "0x5",
        "5x0",
        "16385x1",
        "1x99999",
        "-1x5",
        "1024X1024",
        "1024x1024 ",
        "٣x٣",
        "axb",
    ],
)
def test_what_is_no_size_is_refused(size: str) -> None:
    with pytest.raises(InvalidRequest, match="WIDTHxHEIGHT") as raised:
        size_of(made(size=size))
    assert raised.value.param == "size"


@pytest.mark.parametrize(
    ("fields", "param"),
    [({"width": 64}, "height"), ({"height": 64}, "width"), ({"size": "8x8", "width": 8}, "size")],
)
def test_a_size_is_said_once(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        size_of(made(**fields))
    assert raised.value.param == param


@pytest.mark.parametrize(
    ("fields", "compression", "told"),
    [
        ({}, 100, "high"),
        ({"quality": "auto"}, 100, "high"),
        ({"quality": "standard"}, 100, "medium"),
        ({"quality": "hd"}, 90, "high"),
        ({"quality": "high"}, 90, "high"),
        ({"quality": "medium"}, 55, "medium"),
        ({"quality": "low"}, 35, "low"),
        ({"quality": "low", "output_compression": 80}, 80, "low"),
    ],
)
def test_quality_is_that_of_files(fields: dict[str, Any], compression: int, told: str) -> None:
    request = made(output_format="jpeg", **fields)
    assert (compression_of(request), quality_told(request)) == (compression, told)


@pytest.mark.parametrize(
    ("fields", "as_url"),
    [
        ({}, True),
        ({"stream": False}, True),
        ({"stream": True}, False),
        ({"stream": True, "response_format": "url"}, True),
        ({"response_format": "b64_json"}, False),
    ],
)
def test_pictures_are_told_by_url_but_in_streams(fields: dict[str, Any], as_url: bool) -> None:
    assert Wanted.of(made(**fields)).as_url is as_url


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"background": "transparent"}, "background"),
        ({"output_compression": 50}, "output_compression"),
        ({"output_compression": 50, "output_format": "png"}, "output_compression"),
        ({"partial_images": 1}, "partial_images"),
    ],
)
def test_what_cannot_be_is_refused_by_its_name(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(MeshError) as raised:
        check_images(made(**fields))
    assert raised.value.param == param


def test_what_changes_nothing_is_taken() -> None:
    check_images(
        made(background="opaque", moderation="low", output_compression=100, partial_images=0)
    )
    check_images(edit(input_fidelity="low", background="auto"))


@pytest.mark.parametrize(
    ("request_", "name"),
    [(made(style="vivid"), "style"), (edit(input_fidelity="high"), "input_fidelity")],
)
def test_what_has_no_effect_is_named_or_refused(request_: Any, name: str) -> None:
    ignored = Ignored("ignore")
    check_images(request_, ignored)
    assert ignored.names == (name,)
    with pytest.raises(UnsupportedParameter):
        check_images(request_)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 0}, "n"),
        ({"n": 11}, "n"),
        ({"n": "2"}, "n"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": "x" * 32_001}, "prompt"),
        ({"quality": "best"}, "quality"),
        ({"output_format": "gif"}, "output_format"),
        ({"output_compression": 101}, "output_compression"),
        ({"partial_images": 4}, "partial_images"),
        ({"response_format": "bytes"}, "response_format"),
        ({"num_inference_steps": 0}, "num_inference_steps"),
        ({"num_inference_steps": 1_001}, "num_inference_steps"),
        ({"guidance_scale": -1}, "guidance_scale"),
        ({"seed": 2**63}, "seed"),
        ({"seed": -2}, "seed"),
        ({"nvext": {"seed": -2}}, "nvext.seed"),
        ({"width": 16_385}, "width"),
        ({"images": [{"image_url": 1}]}, "images[0].image_url"),
        ({"image": ["x"] * 17}, "image"),
        ({"output_path": "/etc"}, "output_path"),
        ({"lora_name": "style"}, "lora_name"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_bodies_are_held_to_their_bounds(fields: dict[str, Any], param: str) -> None:
    parser = FormBodyParser(ImageEditRequest, FILE_FIELDS, OF_OPERATORS)._json
    with pytest.raises(InvalidRequest) as raised:
        parser.parse(msgspec.json.encode({"prompt": "a fox", **fields}))
    assert raised.value.param == param


async def read(request: Any, *uploads: Upload, reader: MediaReader = READER) -> References:
    return await read_references(request, uploads, reader, lambda _: None)


async def test_pictures_come_as_files_and_as_urls_in_their_order() -> None:
    files = [Upload("image", "image[0]", RED), Upload("image", "image[1]", BLUE)]
    url = data_url(RED)
    request = edit(
        image=[url, {"image_url": url}],
        images=[{"image_url": url}],
        input_reference=url.partition(",")[2],
        mask={"image_url": data_url(BLUE)},
    )
    references = await read(request, *files)
    assert [(item.param, item.data) for item in references.pictures] == [
        ("image[0]", RED),
        ("image[1]", BLUE),
        ("image[0]", RED),
        ("image[1].image_url", RED),
        ("images[0].image_url", RED),
        ("input_reference", RED),
    ]
    assert references.mask is not None
    assert references.mask.data == BLUE


async def test_a_form_of_openais_client_is_read() -> None:
    parser = FormBodyParser(ImageEditRequest, FILE_FIELDS, OF_OPERATORS)
    request, uploads = parser.parse(
        [
            FormPart("prompt", b"a fox"),
            FormPart("n", b"2"),
            FormPart("image[]", RED, is_file=True),
            FormPart("mask", BLUE, is_file=True),
        ]
    )
    references = await read(request, *uploads)
    assert request.n == 2
    assert [item.param for item in references.pictures] == ["image"]
    assert references.mask is not None


def bomb(width: int, height: int) -> bytes:
    chunks = (b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0), b"IDAT")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
        for chunk in chunks
    )


@pytest.mark.parametrize(
    ("fields", "uploads", "param", "says"),
    [
        ({"image": data_url(bomb(9_999, 9_999))}, [], "image", "pixels"),
        ({}, [("image", b"\x89PNG\r\n\x1a\n123")], "image", "damaged"),
        ({}, [("image", b"text")], "image", "is not PNG"),
        ({}, [("image", b"")], "image", "is not PNG"),
        ({}, [("image", RED + b"1" * 10_000)], "image", "at most 10000 bytes"),
        ({"image": "https://example.com/a.png"}, [], "image", "fetches nothing"),
        ({"image": "file:///etc/passwd"}, [], "image", "fetches nothing"),
        ({"image": "/etc/passwd"}, [], "image", "is not PNG"),
        ({"image": "//etc:passwd"}, [], "image", "base64"),
        ({"mask": data_url(RED)}, [], "image", "needs an image"),
        ({}, [("image", RED), ("mask", picture("red", (6, 8)))], "mask", "6 x 8 pixels"),
        ({}, [("image", RED), ("mask", RED), ("mask", RED)], "mask", "one mask"),
        ({}, [("image", RED)] * 17, "image", "at most 16"),
    ],
)
async def test_pictures_that_cannot_be_are_refused_by_their_name(
    fields: dict[str, Any], uploads: list[tuple[str, bytes]], param: str, says: str
) -> None:
    files = [Upload(field, field, data) for field, data in uploads]
    with pytest.raises(InvalidRequest, match=says) as raised:
        await read(edit(**fields), *files)
    assert raised.value.param == param
