"""Parameters of /v1/images/edits, which takes JSON beside forms."""

from typing import Any, Final

from conformance.parameters import drawn, images
from conformance.parameters.exchange import Case

BASE: Final[dict[str, Any]] = {**images.BASE, "image": drawn.plain(drawn.RED)}

CASES: Final = (
    *images.common("image_edit"),
    Case("image", drawn.plain(drawn.BLUE), "this one is changed", drawn.another()),
    Case("image", "data:image/png;base64,AAAA", "no picture"),
    Case(
        "mask",
        drawn.plain(drawn.RED),
        "what it covers stays",
        drawn.another(mask=drawn.plain(drawn.NOTHING)),
    ),
    Case("mask", drawn.plain(drawn.RED, 2 * drawn.SIDE), "of another size than the picture"),
    Case("input_fidelity", "low", "models served here have no such degrees"),
    Case("input_fidelity", "high", "models served here have no such degrees"),
)
