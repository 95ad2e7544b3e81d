"""Before the load a server is asked what it serves, what it takes, and how it counts."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random
from typing import Any, Final

import msgspec

from frontend.cli.bench.asking import Asking, Refused
from frontend.cli.bench.prompts import WORDS, Measure, measured
from frontend.cli.bench.streamed import StreamedAnswer, Whole
from frontend.cli.bench.wishes import Wishes
from frontend.models.services import GENERATION, use_of

FEW_WORDS: Final = 32
MANY_WORDS: Final = 160
"""Are the lengths of the prompts by which tokens are counted, short enough for any model."""


@dataclass(frozen=True)
class Probed:
    """Probed is what was found out.

    Attributes:
        measure: None where the server does not count tokens.
    """

    wishes: Wishes
    measure: Measure | None


async def model_served(asking: Asking) -> str:
    """Returns the first model that generates text.

    Raises:
        Refused: there is none, or no server.
    """
    listed: Any = msgspec.json.decode(await asking.get("/models"))
    try:
        names = [
            each["id"]
            for each in listed["data"]
            # a server of somebody else does not say what its models are for
            if use_of(each.get("service", GENERATION)).generates
        ]
    except (LookupError, TypeError, AttributeError):
        names = []
    if not names:
        raise Refused("no model that generates text is served there; name one with --model")
    return names[0]


async def probe(asking: Asking, wishes: Wishes, clock: Callable[[], float]) -> Probed:
    """Returns in which words the server takes the wishes, and how long prompts are to it.

    Raises:
        Refused: it takes them in none.
    """
    random = Random(0)  # noqa: S311 - texts, not secrets
    few, many = (" ".join(random.choices(WORDS, k=count)) for count in (FEW_WORDS, MANY_WORDS))
    for each in (tries := wishes.less()):
        answer = StreamedAnswer(clock, lambda _: None)
        await asking.stream(each, few, answer)
        if answer.error is None:
            break
        if not answer.error.startswith(("400", "422")) or each is tries[-1]:
            raise Refused(answer.error)
    else:
        raise AssertionError
    short = replace(each, output_tokens=1)
    counts = [await _prompt_tokens(asking, short, text) for text in (few, many)]
    if not all(counts):
        return Probed(each, None)
    return Probed(each, measured(FEW_WORDS, counts[0], MANY_WORDS, counts[1]))


async def _prompt_tokens(asking: Asking, wishes: Wishes, prompt: str) -> int:
    """Returns how many tokens a prompt has; 0 where the server does not say."""
    told = await asking.post(wishes.path, wishes.body(prompt, stream=False))
    usage = msgspec.json.decode(told, type=Whole).usage
    return 0 if usage is None else usage.prompt_tokens
