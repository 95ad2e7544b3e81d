"""Pictures of prompts, encoded apart or asked about again, and pictures that are made."""

from collections.abc import Iterator
from statistics import median
from typing import Any, Final

from bench.figures.markdown import number, pair, result, table

NAMES: Final = {"whole": "an ordinary worker", "apart": "an encode worker beside it"}
LOADS: Final = {
    "texts alone": ("texts alone",),
    "pictures alone": ("pictures alone",),
    "texts beside pictures": ("both", "texts"),
    "pictures beside texts": ("both", "pictures"),
}
MADE: Final = {
    "b64_json": "in base64, as one JSON",
    "stream": "in base64, as an event",
    "url": "as a file",
}


def sections() -> Iterator[str]:
    """A section for what encoding apart is worth, and what every topology answers, and one each for
    pictures that come again, for ways between processes and for pictures that are made.
    """
    yield _again(result("pictures"))
    yield _handed(result("planes"))
    yield _made(result("made_pictures"))
    found = result("media")
    rows = [
        [load, *(_cell(found["mixed"][view], path) for view in NAMES)]
        for load, path in LOADS.items()
    ]
    golden = [
        [topology, f"{told['golden']} of {told['of']}"]
        for topology, told in found["golden"].items()
    ]
    small, large = found["batches"]["64"], found["batches"]["1024"]
    batches = [[together, number(small[together]), number(large[together])] for together in small]
    yield f"""\
## Pictures encoded apart, on one GPU

`python -m bench.gpu.media` on one H200 that both share (a model of Qwen3-VL-8B's shape without
weights; its pictures are encoded by SGLang's Triton kernels, for want of FlashAttention there): 32
clients with texts of some 256 tokens in and 128 out, 8 with a fresh picture of 1,024 tokens each
and 32 out. Requests/s; TTFT p50 / p99 and gap p99 in ms, medians of the rounds:

{table(["load", *NAMES.values()], rows)}

Who reads texts beside pictures gains, since nobody's next token waits for a picture to be encoded;
pictures alone lose, since two processes share the GPU and what is made of them (33 MB each, four
layers deep) goes from one to the other. What a GPU for each gives is not measured here yet.

Milliseconds that a batch takes to encode, by the tokens of each of its pictures:

{table(["pictures together", "64 tokens", "1,024 tokens"], batches)}

What the demo model that sees answers on that GPU, greedily, of its golden answers:

{table(["topology", "golden"], golden)}"""


def _handed(found: dict[str, Any]) -> str:
    ways = found["planes"]
    sizes = list(ways["frames"])
    rows = [
        [way, *(pair(told[size]["wall_ms"], told[size]["cpu_ms"]) for size in sizes)]
        for way, told in ways.items()
    ]
    return f"""\
## An encoding from one process to another

`python -m bench.gpu.media --what planes`, NIXL 1.5.1, a host with an H200, 16 cores:
milliseconds from the question to the answer, and of CPU in both processes, medians of 15. Frames
are the media plane's own, over loopback; a key is the mesh's, which encrypts them. `memory` is
`--encodings-nixl auto`, `network` UCX with all that it finds.

{table(["way", *sizes], rows)}"""


def _again(found: dict[str, Any]) -> str:
    rows = [
        [mode, f"{100 * median(each['cached_share'] for each in rounds):.0f} %"]
        for mode, rounds in found["modes"].items()
    ]
    return f"""\
## Pictures that are asked about again

`python -m bench.pictures`: 32 pictures of 1,024 tokens, six questions about each, 16 clients, four
simulated workers whose caches hold half of the pictures each; share of prompt tokens that the
engines found in their caches, medians of {len(next(iter(found["modes"].values())))} rounds:

{table(["routing", "cached"], rows)}"""


def _made(found: dict[str, Any]) -> str:
    rows = [
        [
            told,
            *(number(found["ways"][way][key]) for key in ("before_mib", "peak_mib")),
            number(found["ways"][way]["cpu_s"]),
        ]
        for way, told in MADE.items()
    ]
    each = found["ways"]["url"]["mb_each"]
    return f"""\
## Memory with pictures under way

`python -m bench.made_pictures`: {found["clients"]} clients, each with a picture of {each:.1f} MB
that a simulated worker made, none of which reads on before all have the beginning of theirs; the
frontend's memory before and at its highest (MiB), and its CPU for all of them (s):

{table(["handed out", "before", "highest", "CPU"], rows)}"""


def _cell(rounds: list[dict[str, Any]], path: tuple[str, ...]) -> str:
    def middle(key: str) -> float:
        return median(_at(each, path)[key] for each in rounds)

    ttft = pair(middle("ttft_p50_ms"), middle("ttft_p99_ms"))
    return f"{number(middle('requests_per_s'))}; {ttft}; {number(middle('gap_p99_ms'))}"


def _at(measured: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    for name in path:
        measured = measured[name]
    return measured
