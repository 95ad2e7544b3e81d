"""SGLang does not find out two things about models that make vectors: how they pool, and that
encoders read a text as a whole.

SGLang pools by architecture: every BertModel by its first token, every decoder by its last. A model
of sentence-transformers says in its files how it was trained to (modules.json and the folder that
it names for pooling), and of BertModels that is mostly the mean.
"""

import json
import logging
from pathlib import Path
from typing import Any, Final, Literal

from protocol.process.start_error import StartError

log = logging.getLogger(__name__)

Pooling = Literal["CLS", "MEAN", "LAST"]
"""A Pooling is one of the names of SGLang's PoolingType."""

_MODES: Final[dict[str, Pooling]] = {
    "cls_token": "CLS",
    "cls": "CLS",
    "mean_tokens": "MEAN",
    "mean": "MEAN",
    "lasttoken": "LAST",
}
"""Sentence-transformers calls the poolings so: in older files each is a switch
(pooling_mode_mean_tokens), in newer ones pooling_mode is one.
"""

ENCODERS: Final = frozenset(
    (
        "BertModel",
        "Contriever",
        "XLMRobertaModel",
        "BertForSequenceClassification",
        "XLMRobertaForSequenceClassification",
    )
)
"""These architectures have tokens that look at those behind them too: what a prefix becomes depends
on what follows, so nothing of it can be cached, nor a text be computed in chunks. SGLang leaves
both on.
"""

CROSS_ENCODERS: Final = frozenset(
    ("BertForSequenceClassification", "XLMRobertaForSequenceClassification")
)
"""These architectures read two texts and say how well they match."""


def is_encoder(model: str, revision: str | None) -> bool:
    """Tells whether the model's configuration names one of ENCODERS.

    What is wrong with it is said later, by SGLang.
    """
    from transformers import PretrainedConfig  # noqa: PLC0415  # after the stand-ins

    try:
        config, _ = PretrainedConfig.get_config_dict(model, revision=revision)
    except Exception:  # noqa: BLE001  # hub, network, JSON
        return False
    return not ENCODERS.isdisjoint(config.get("architectures") or ())


def pooling_of(model: str, revision: str | None) -> Pooling | None:
    """Returns how a model of sentence-transformers pools; None if its files do not say.

    Raises:
        StartError: in a way that SGLang does not know.
    """
    modules = _read(model, revision, "modules.json") or []
    types = {
        str(module.get("type")).rpartition(".")[2]: str(module.get("path")) for module in modules
    }
    if "Pooling" not in types:
        return None
    if "Dense" in types:
        log.warning(
            (
                "%s ends in a dense layer (modules.json), which SGLang applies for "
                "EmbeddingGemma alone"
            ),
            model,
        )
    config = _read(model, revision, f"{types['Pooling']}/config.json") or {}
    switched_on = [
        name.removeprefix("pooling_mode_")
        for name, on in config.items()
        if name.startswith("pooling_mode_") and on is True
    ]
    modes = [str(config["pooling_mode"])] if "pooling_mode" in config else switched_on
    if len(modes) != 1 or modes[0] not in _MODES:
        raise StartError(
            f"the model pools by {', '.join(modes) or 'nothing known'}; SGLang can by the "
            "first, the last or the mean token"
        )
    return _MODES[modes[0]]


def pool_as(pooling: Pooling) -> None:
    """Has every Pooler that this process makes pool in the given way.

    To be called in a scheduler, before it loads its model.
    """
    from sglang.srt.layers import pooler  # noqa: PLC0415

    kind, plain_init, plain_forward = (
        pooler.PoolingType[pooling],
        pooler.Pooler.__init__,
        pooler.Pooler.forward,
    )

    def init(self: Any, pooling_type: Any, normalize: bool) -> None:  # noqa: ARG001
        plain_init(self, kind, normalize)

    def forward(self: Any, hidden_states: Any, forward_batch: Any) -> Any:
        # SGLang takes means out of one running sum over the batch, which half precision is too
        # coarse for.
        return plain_forward(
            self, hidden_states.float() if pooling == "MEAN" else hidden_states, forward_batch
        )

    pooler.Pooler.__init__, pooler.Pooler.forward = init, forward


def _read(model: str, revision: str | None, name: str) -> Any:
    """Returns a JSON file of a local model or one from the hub; None where there is none."""
    path = Path(model) / name
    if not Path(model).is_dir():
        from huggingface_hub import hf_hub_download  # noqa: PLC0415

        try:
            path = Path(hf_hub_download(model, name, revision=revision))
        except Exception:  # noqa: BLE001  # most models have no such file; without a network SGLang says what is missing
            return None
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
