"""What SGLang tells of its engine, without what nobody is to know."""

from typing import Any, Final, cast

import msgspec
from sglang.srt.utils.msgspec_utils import msgspec_to_builtins
from sglang.version import __version__

_SECRET: Final = ("api_key", "token", "password", "secret", "ssl_keyfile")
"""What has one of these in its name is not told."""


def model_info(engine: Any, served_name: str) -> dict[str, Any]:
    """Returns which model and weights an engine serves.

    Args:
        served_name: the model's name, which SGLang replaces by a path when weights are loaded.
    """
    return engine.get_model_info() | {"served_model_name": served_name}


async def server_info(engine: Any) -> dict[str, Any]:
    """Returns an engine's arguments and the state of each of its ranks."""
    manager = engine.tokenizer_manager
    told = {
        **manager.server_args.resolved_dict(),
        "version": __version__,
        "internal_states": await manager.get_internal_state(),
    }
    return msgspec.to_builtins(_shown(msgspec_to_builtins(told)), enc_hook=str, str_keys=True)


def _shown(told: Any) -> Any:
    if isinstance(told, dict):
        fields = cast("dict[Any, Any]", told)
        return {name: _hidden(str(name), value) for name, value in fields.items()}
    return [_shown(each) for each in cast("list[Any]", told)] if isinstance(told, list) else told


def _hidden(name: str, value: Any) -> Any:
    secret = isinstance(value, str) and any(word in name for word in _SECRET)
    return "***" if secret and value else _shown(value)
