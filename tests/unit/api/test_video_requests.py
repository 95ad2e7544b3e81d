"""What requests for videos mean to a worker, what is refused of them, and how jobs are told."""

from typing import Any

import msgspec
import pytest

from frontend.api.fields.query import query_of
from frontend.api.videos.asking import PARSER
from frontend.api.videos.conversion import check_video, diffuse_of, length_of
from frontend.api.videos.objects import job_id_in, job_id_of, video_of
from frontend.api.videos.schemas import VideoRequest
from frontend.http.forms import FormPart
from protocol.diffusion import Diffuse, Job, Output
from protocol.errors import InvalidRequest, MeshError, RouteNotFound, UnsupportedParameter
from tests.unit.http.test_exchange import Server

JOB = "0123456789abcdef" * 2


def asked(**fields: Any) -> VideoRequest:
    return msgspec.convert({"prompt": "a fox", **fields}, VideoRequest)


def diffuse(**fields: Any) -> Diffuse:
    return diffuse_of(asked(**fields), Server([b""]).exchange, [], model="films", lora_name=None)


def test_a_video_of_which_nothing_is_said_has_four_seconds() -> None:
    plain = diffuse()
    assert (plain.format, plain.count, plain.seconds) == ("mp4", 1, 4.0)
    assert (plain.width, plain.height, plain.frames, plain.fps, plain.steps) == (0, 0, 0, 0, 0)
    assert plain.job_id == ""


def test_fields_of_the_reference_product_reach_the_worker() -> None:
    said = diffuse(
        size="832x480",
        nvext={
            "fps": 16,
            "num_frames": 81,
            "negative_prompt": "cats",
            "num_inference_steps": 12,
            "guidance_scale": 5.0,
            "seed": 7,
        },
    )
    assert (said.width, said.height, said.frames, said.fps) == (832, 480, 81, 16)
    assert (said.negative_prompt, said.steps, said.guidance_scale) == ("cats", 12, 5.0)
    assert (said.seed, said.seconds) == (7, 81 / 16)


@pytest.mark.parametrize(
    ("fields", "length"),
    [
        ({}, (4.0, 0, 0)),
        ({"seconds": "8"}, (8.0, 0, 0)),
        ({"seconds": 8}, (8.0, 0, 0)),
        ({"seconds": 0.5}, (0.5, 0, 0)),
        ({"seconds": "2.5", "fps": 8}, (2.5, 0, 8)),
        ({"num_frames": 16}, (0.0, 16, 0)),
        ({"num_frames": 16, "fps": 8}, (2.0, 16, 8)),
        ({"num_frames": 16, "fps": 8, "seconds": 2}, (2.0, 16, 8)),
        ({"num_frames": 16, "nvext": {"num_frames": 16}}, (0.0, 16, 0)),
    ],
)
def test_lengths(fields: dict[str, Any], length: tuple[float, int, int]) -> None:
    assert length_of(asked(**fields)) == length


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"seconds": "0"}, "seconds"),
        ({"seconds": "four"}, "seconds"),
        ({"seconds": "1e3"}, "seconds"),
        ({"seconds": "٤"}, "seconds"),
        ({"seconds": 171}, "seconds"),
        ({"seconds": 18, "fps": 240}, "seconds"),
        ({"seconds": 3, "fps": 8, "num_frames": 16}, "seconds"),
        ({"num_frames": 1, "nvext": {"num_frames": 2}}, "nvext.num_frames"),
    ],
)
def test_what_is_no_length_is_refused(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        length_of(asked(**fields))
    assert raised.value.param == param


def test_one_video_is_made_and_streams_have_a_path_of_their_own() -> None:
    check_video(asked(n=1, stream=False), streams=False)
    check_video(asked(stream=True), streams=True)
    for fields, param in (({"n": 2}, "n"), ({"stream": True}, "stream")):
        with pytest.raises(UnsupportedParameter) as raised:
            check_video(asked(**fields), streams=False)
        assert raised.value.param == param


def test_a_form_of_openais_client_is_read() -> None:
    request, (upload,) = PARSER.parse(
        [
            FormPart("prompt", b"a fox"),
            FormPart("seconds", b"8"),
            FormPart("size", b"720x1280"),
            FormPart("nvext[fps]", b"16"),
            FormPart("input_reference", b"picture", is_file=True),
        ]
    )
    assert length_of(request) == (8.0, 0, 16)
    assert (upload.field, upload.data) == ("input_reference", b"picture")


def test_a_job_is_told_as_openai_does() -> None:
    told = video_of(
        Job(
            JOB,
            "films",
            "in_progress",
            9,
            percent=40,
            prompt="a fox",
            seconds=4.0,
            width=8,
            height=6,
        )
    )
    assert told == {
        "id": f"video_{JOB}",
        "object": "video",
        "model": "films",
        "status": "in_progress",
        "progress": 40,
        "created_at": 9,
        "completed_at": None,
        "expires_at": None,
        "prompt": "a fox",
        "seconds": "4",
        "size": "8x6",
        "error": None,
        "remixed_from_video_id": None,
    }


def test_what_was_made_says_how_long_it_is() -> None:
    output = Output("0" * 48, "mp4", 1, 8, 6, frames=20, fps=8.0)
    job = Job(JOB, "films", "completed", 9, 100, 12, 99, outputs=[output], width=8, height=6)
    told = video_of(job)
    assert (told["seconds"], told["completed_at"], told["expires_at"]) == ("2.5", 12, 99)


def test_a_failure_has_its_cause() -> None:
    told = video_of(
        Job(JOB, "films", "failed", 9, completed_unix_s=10, error_code="engine_fault", error="no")
    )
    assert told["error"] == {"code": "engine_fault", "message": "no"}
    assert (told["completed_at"], told["size"]) == (None, "auto")


def test_videos_are_named_by_their_jobs() -> None:
    server = Server([b""])
    server.exchange.scope["path"] = f"/v1/videos/video_{JOB}/content"
    assert job_id_of(server.exchange) == JOB
    for wrong in ("video_", JOB, f"video_{JOB}0", f"video_{JOB.upper()}", "x" * 5_000):
        with pytest.raises(RouteNotFound) as raised:
            job_id_in(wrong)
        assert len(raised.value.message) < 200


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        (b"", {}),
        (b"limit=5&order=asc", {"limit": "5", "order": "asc"}),
        (b"after=", {"after": ""}),
        (b"limit=%35", {"limit": "5"}),
        (b"colour=red", {}),
    ],
)
def test_queries(query: bytes, fields: dict[str, str]) -> None:
    exchange = Server([b""]).exchange
    exchange.scope["query_string"] = query
    assert query_of(exchange, ("after", "limit", "order")) == fields
    assert exchange.ignored.names == (("colour",) if b"colour" in query else ())


@pytest.mark.parametrize("query", [b"limit=1&limit=2", b"&".join([b"a=1"] * 40)])
def test_queries_that_mean_nothing(query: bytes) -> None:
    exchange = Server([b""]).exchange
    exchange.scope["query_string"] = query
    with pytest.raises(MeshError):
        query_of(exchange, ("limit",))
