"""The media of a request are known to SGLang's cache by digests that others can compute.

SGLang hashes what its processor makes of a picture, which depends on the processor and its device;
a router knows the client's bytes alone.
"""

import logging
from collections.abc import Sequence
from typing import Any

log = logging.getLogger(__name__)


def set_digests(inputs: Any, digests: Sequence[int]) -> None:
    """Sets the hashes of a request's media items (`MultimodalProcessorOutput`), of which there is
    one for each digest, in order; else leaves SGLang's own.

    The padded ids that a processor has built from its own hashes are dropped: a scheduler that
    finds them beside other hashes dies. It builds them anew.
    """
    if inputs is None or len(inputs.mm_items) != len(digests):
        log.debug("media are known to the cache by the engine's own hashes")
        return
    for item, digest in zip(inputs.mm_items, digests, strict=True):
        item.set_hash(digest)
    inputs.padded_input_ids = None
