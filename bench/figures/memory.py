"""What a frontend's memory is made of, with a small vocabulary and a large one."""

from collections.abc import Iterator
from typing import Any, Final

from bench.figures.markdown import machine, number, result, table

MOMENTS: Final = {
    "started": "started",
    "with_the_model": "with the model",
    "chat_64": "after 128-token chats, 64 together",
    "streams_64": "after 64 streams",
    "prompt_8k": "after prompts of 8k tokens, fresh, 8 together",
    "prompt_32k": "after prompts of 32k tokens, 4 together",
    "prompt_128k": "after prompts of 128k tokens, 2 together",
    "rested": "at rest",
}

PARTS: Final = {
    "files": "files",
    "heap": "the C library's heap",
    "tables": "fastokens' tables",
    "others": "Python's own and others",
}


def sections() -> Iterator[str]:
    """One section."""
    found = result("memory")
    vocabularies: dict[str, dict[str, Any]] = found["vocabularies"]
    rows = [
        [told, *(_moment(each["moments"][moment]) for each in vocabularies.values())]
        for moment, told in MOMENTS.items()
    ]
    libraries = [
        [
            f"{told} alone, one thread",
            *(number(each["libraries_mib"][name]) for each in vocabularies.values()),
        ]
        for name, told in (("fastokens", "fastokens"), ("hf", "Hugging Face's library"))
    ]
    columns = ["MiB", *(f"a vocabulary of {name}" for name in vocabularies)]
    yield f"""\
## Memory of a frontend, and its parts

`python -m bench.frontend.memory`: {machine(found["machine"])}; one frontend over one simulated
worker, four seconds of each load, one after the other; read at once after each, and at rest \
{number(found["rest_s"])} s after the last. In each cell: resident memory \
({", ".join(PARTS.values())}).
Beneath: what a tokenizer's library adds to an empty process. What is kept, and what is not:
[decision 57](decisions/0057-what-a-frontend-keeps.md).

{table(columns, [*rows, *libraries])}"""


def _moment(told: dict[str, Any]) -> str:
    parts = ", ".join(number(told["parts_mib"].get(part, 0.0)) for part in PARTS)
    return f"{number(told['rss_mib'])} ({parts})"
