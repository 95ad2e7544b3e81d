"""Defines how a frontend has pictures or videos made by a worker, is told how far they are, and
fetches them. Add-only.
"""

from hashlib import sha256
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from protocol.fields import Count, Name, RequestId, TraceParent, TraceState
from protocol.limits import MESSAGE_BYTES_MAX, MESSAGE_CHARS_MAX, REQUEST_ID_CHARS

PROMPT_CHARS_MAX: Final = 32_000
"""Bounds a prompt, as OpenAI does; text encoders read some hundred tokens of it."""

OUTPUTS_MAX: Final = 10
"""Bounds what one request has made, as OpenAI does."""

REFERENCES_MAX: Final = 16
"""Bounds the pictures that a request brings along to be changed or continued, as OpenAI does."""

PREVIEWS_MAX: Final = 3
"""Bounds the pictures shown on the way to each, as OpenAI does."""

SIDE_PIXELS_MAX: Final = 16_384
"""Bounds a side of what is made; models of today make some 4,096."""

STEPS_MAX: Final = 1_000
"""Bounds the steps of a request: schedulers are trained on a thousand."""

FRAMES_MAX: Final = 4_096
"""Bounds the frames of a video: nearly three minutes at 24 a second; models of today make ten
seconds.
"""

OUTPUT_BYTES_MAX: Final = 4 * 1024 * 1024 * 1024
"""Bounds one output: a 4k video of a minute at 500 Mbit/s."""

OUTPUT_CHUNK_BYTES_MAX: Final = 256 * 1024
"""Bounds the pieces that outputs travel in, so that tokens and heartbeats pass between them, and a
frontend holds little of each.
"""

JOBS_LISTED_MAX: Final = 1_000
"""Bounds the jobs that one answer tells of, and those that a worker remembers."""

PIXEL_STEPS_PER_TOKEN: Final = 4_096
"""Makes a picture of a megapixel in 30 steps weigh as a prompt of some 7,000 tokens: about as many
seconds of a GPU, and much more than the request itself.
"""

SEED_END: Final = 2**63
"""Is behind the last seed; behind that comes 0 again."""

Side = Annotated[int, Meta(ge=0, le=SIDE_PIXELS_MAX)]
Seed = Annotated[int, Meta(ge=0, le=SEED_END - 1)]
Frames = Annotated[int, Meta(ge=0, le=FRAMES_MAX)]
OutputId = Annotated[str, Meta(pattern="^[0-9a-f]{48}$")]
"""Names an output by hex digits: the first 16 are `worker_tag` of the worker that has it, the other
32 are drawn by lot, so that nobody guesses it.
"""
OutputFormat = Literal["png", "jpeg", "webp", "mp4"]
JobStatus = Literal["queued", "in_progress", "completed", "failed"]


class Diffuse(Struct, frozen=True, tag="diffuse", omit_defaults=True):
    """A Diffuse asks a worker to make pictures, or a video, of a prompt.

    Deltas without tokens tell how far it is, in `Extras.progress`; exactly one with a Diffused,
    Finished ("abort") or Failed end answers it, unless the worker dies.
    """

    request_id: RequestId
    model: Name
    prompt: Annotated[str, Meta(max_length=PROMPT_CHARS_MAX)]
    deadline_unix_ms: int
    """Says by when it must have begun: what has not is dropped then."""
    format: OutputFormat = "png"
    """"mp4" asks for a video, all others for pictures."""
    count: Annotated[int, Meta(ge=1, le=OUTPUTS_MAX)] = 1
    width: Side = 0
    """Is in pixels; 0, here as below: the worker's own choice."""
    height: Side = 0
    steps: Annotated[int, Meta(ge=0, le=STEPS_MAX)] = 0
    frames: Frames = 0
    fps: Annotated[int, Meta(ge=0, le=240)] = 0
    seconds: Annotated[float, Meta(ge=0, le=3_600)] = 0.0
    """Says how long a video is to be, where `frames` says nothing."""
    guidance_scale: float | None = None
    negative_prompt: Annotated[str, Meta(max_length=PROMPT_CHARS_MAX)] = ""
    seed: Seed | None = None
    """Makes the first output, and this plus i the one of index i; None: drawn by lot."""
    compression: Annotated[int, Meta(ge=0, le=100)] = 100
    """Is the quality of JPEG and WebP, in per cent."""
    previews: Annotated[int, Meta(ge=0, le=PREVIEWS_MAX)] = 0
    """Says how many pictures to show on the way to each; fewer may come, or none."""
    references: Annotated[
        list[Annotated[bytes, Meta(max_length=MESSAGE_BYTES_MAX)]],
        Meta(max_length=REFERENCES_MAX),
    ] = []
    """Lists picture files, checked by their headers, to be changed or continued."""
    reference_params: Annotated[list[Name], Meta(max_length=REFERENCES_MAX)] = []
    """Names the client's field that each of them came from, for errors about it."""
    mask: Annotated[bytes, Meta(max_length=MESSAGE_BYTES_MAX)] = b""
    """Is a picture file whose transparent parts say where the first reference is changed."""
    job_id: Annotated[str, Meta(pattern=f"^(.{{{REQUEST_ID_CHARS}}})?$")] = ""
    """Names the job that it is, which goes on without the frontend that asked and can be asked for
    (AskJobs) by any, until it is forgotten; moved to another worker, it keeps this name. Empty: it
    is none.
    """
    job_begun_unix_s: Count = 0
    """Says when the job was begun, which may have been on another worker; 0: now."""
    priority: int = 0
    routed_dp_rank: int | None = None
    lora_name: Name | None = None
    traceparent: TraceParent | None = None
    """Names the span of a trace that the work is part of, as W3C's header does."""
    tracestate: TraceState = ""
    """Holds what tracing systems say to each other beside it."""

    @property
    def cost(self) -> int:
        """Returns how much work it is, in what stands for tokens of a prompt: pixels times steps,
        divided by PIXEL_STEPS_PER_TOKEN. What it leaves to the worker counts as a megapixel, 30
        steps and, of a video, 5 seconds.
        """
        pixels = self.width * self.height or 1_000_000
        seconds = self.seconds or 5.0
        frames = self.frames or int(seconds * (self.fps or 24)) if self.format == "mp4" else 1
        pixel_steps = pixels * (self.steps or 30) * max(1, frames) * self.count
        return 1 + pixel_steps // PIXEL_STEPS_PER_TOKEN


class Output(Struct, frozen=True, array_like=True, omit_defaults=True):
    """An Output is a picture or video that was made, without its bytes."""

    output_id: OutputId
    format: OutputFormat
    size_bytes: Annotated[int, Meta(ge=0, le=OUTPUT_BYTES_MAX)]
    width: Side
    height: Side
    frames: Frames = 1
    fps: float = 0.0
    url: Annotated[str, Meta(max_length=4_096)] = ""
    """Says where clients fetch it, if the worker was told where that is; else a frontend serves
    it.
    """
    seed: Seed | None = None


PERCENT_MADE: Final = 100
"""Is told of a Diffuse when all of it is made and being written: its worker can take the next
one.
"""


class Progress(Struct, frozen=True, array_like=True, omit_defaults=True):
    """A Progress tells how far a Diffuse is."""

    percent: Annotated[int, Meta(ge=0, le=100)]
    step: Count = 0
    steps: Count = 0
    """Counts the steps of all outputs together."""
    index: Count = 0
    """Says which output `preview` is of."""
    preview: Output | None = None


class Diffused(Struct, frozen=True, tag="diffused", array_like=True, omit_defaults=True):
    """A Diffused ends a Diffuse: all outputs are made and can be fetched, for a while."""

    outputs: Annotated[list[Output], Meta(max_length=OUTPUTS_MAX)]
    made_us: Count = 0
    """Says how many microseconds the making took, from its begin."""
    expires_unix_s: Count = 0
    """Says when the worker throws them away; 0 where it does not."""


class Job(Struct, frozen=True, omit_defaults=True):
    """A Job tells of a Diffuse that goes on without whoever asked for it, or did."""

    job_id: RequestId
    model: Name
    status: JobStatus
    created_unix_s: Count
    percent: Annotated[int, Meta(ge=0, le=100)] = 0
    completed_unix_s: Count = 0
    expires_unix_s: Count = 0
    prompt: Annotated[str, Meta(max_length=PROMPT_CHARS_MAX)] = ""
    seconds: float = 0.0
    width: Side = 0
    height: Side = 0
    outputs: Annotated[list[Output], Meta(max_length=OUTPUTS_MAX)] = []
    error_code: Name = ""
    """Names a leaf of `protocol.errors`, where it failed."""
    error: Annotated[str, Meta(max_length=MESSAGE_CHARS_MAX)] = ""
    ended_s_ago: Count | None = None
    """Is how long ago it ended when it was told, since hosts' clocks differ; None while it runs."""


class AskJobs(Struct, frozen=True, tag="ask_jobs", omit_defaults=True):
    """An AskJobs asks a worker for its jobs; one JobsTold answers it."""

    query_id: RequestId
    job_id: Annotated[str, Meta(max_length=32)] = ""
    """Asks for one of them; empty: all."""
    forget: bool = False
    """Has that one stopped, if it runs, and thrown away with all that was made; it is told as it
    was.
    """


class JobsTold(Struct, frozen=True, tag="jobs_told", omit_defaults=True):
    """A JobsTold answers an AskJobs; a job that the worker does not know is not in it."""

    query_id: RequestId
    jobs: Annotated[list[Job], Meta(max_length=JOBS_LISTED_MAX)] = []


class FetchOutput(Struct, frozen=True, tag="fetch_output", omit_defaults=True):
    """A FetchOutput asks a worker for a piece of an output; one OutputChunk answers it."""

    query_id: RequestId
    output_id: OutputId
    offset_bytes: Annotated[int, Meta(ge=0, le=OUTPUT_BYTES_MAX)] = 0
    size_bytes: Annotated[int, Meta(ge=0, le=OUTPUT_CHUNK_BYTES_MAX)] = OUTPUT_CHUNK_BYTES_MAX


class OutputChunk(Struct, frozen=True, tag="output_chunk", omit_defaults=True):
    """An OutputChunk is a piece of an output."""

    query_id: RequestId
    data: Annotated[bytes, Meta(max_length=OUTPUT_CHUNK_BYTES_MAX)] = b""
    """Ends where the output does, or is as long as was asked for."""
    output: Output | None = None
    """Describes the whole; None: there is no such output here (any more)."""


def worker_tag(worker_id: str, epoch: int) -> str:
    """Returns the 16 hex digits that the outputs of one worker process begin with."""
    return sha256(f"{worker_id} {epoch}".encode()).hexdigest()[:16]
