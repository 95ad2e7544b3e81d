"""An embedding worker makes vectors of texts, or scores of pairs of them."""

import secrets
from typing import Final

from protocol.embedding import Embed
from protocol.tokens import pack_tokens
from workers.engine import NO_DEADLINE_UNIX_MS, EngineFacts
from workers.health.canary import CanaryFields, MakeCanary
from workers.kinds.arguments import Arguments
from workers.kinds.engines import sglang, simulated
from workers.kinds.kind import Serving, WorkerKind

_FLAG: Final = "--is-embedding"
"""SGLang and the simulated engine both take this flag for models that make vectors."""


def _chosen(arguments: Arguments) -> bool:
    """Tells whether --embedding-worker or the engine's own flag asks for vectors."""
    return arguments.settings.embedding_worker or _FLAG in arguments.engine_argv


def _short_texts(facts: EngineFacts, fields: CanaryFields) -> MakeCanary:
    """Returns a maker of canaries that embed one token, unless the fields say otherwise."""
    text = pack_tokens(fields.token_ids)

    def make(request_id: str, rank: int) -> Embed:
        return Embed(request_id, facts.card.name, text, NO_DEADLINE_UNIX_MS, routed_dp_rank=rank)

    return make


def _first_text(facts: EngineFacts, tokens: int, dp_rank: int | None) -> Embed:
    return Embed(
        secrets.token_hex(16),
        facts.card.name,
        pack_tokens([1] * tokens),
        NO_DEADLINE_UNIX_MS,
        routed_dp_rank=dp_rank,
    )


VECTORS: Final = Serving(
    service="embedding",
    endpoint="dyn://kvmesh.embedding.embed",
    takes=(Embed,),
    canaries=_short_texts,
    first_work=_first_text,
)

EMBEDDING: Final = WorkerKind(
    name="embedding",
    chosen_by=_chosen,
    engines={"sglang": sglang(_FLAG), "sim": simulated(_FLAG)},
    serving=VECTORS,
)
