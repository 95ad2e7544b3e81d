"""What arguments say of the engines that `kvmesh up` starts, before those read them."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import yaml

from protocol.process.flags import said_after, value_under


class EngineArguments:
    """EngineArguments are what follows `--`, and what the file says that they name for SGLang.

    The command line wins over the file. What is wrong with either is for the worker to say.
    """

    def __init__(self, argv: Sequence[str]) -> None:
        self._argv = list(argv)
        self._file = self._read_file()

    def told(self, *flags: str) -> str | None:
        """Returns what is said after any of these flags, the last one counting; "" after one that
        takes no value; None where nothing is said.
        """
        said = self.on_command_line(*flags)
        if said is not None:
            return said
        value = value_under(self._file, *flags)
        if value is None or value is False:  # 0 is a value, and equal to False
            return None
        return "" if value is True else str(value)

    def number(self, *flags: str) -> int:
        """Returns the whole number after any of these flags, 1 where there is none."""
        text = self.told(*flags) or ""
        return max(1, int(text)) if text.isdecimal() else 1

    def on_command_line(self, *flags: str) -> str | None:
        """Returns what the command line says, as `told`."""
        return said_after(self._argv, *flags)

    def _read_file(self) -> dict[str, Any]:
        file = self.on_command_line("--config")
        key = None
        if not file:
            file = self.on_command_line("--disagg-config") or os.environ.get(
                "DYN_SGL_DISAGG_CONFIG"
            )
            key = self.on_command_line("--disagg-config-key") or os.environ.get(
                "DYN_SGL_DISAGG_CONFIG_KEY"
            )
        if not file:
            return {}
        try:
            content: Any = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError):
            return {}
        if key is not None and isinstance(content, dict):
            content = cast("dict[Any, Any]", content).get(key)
        if not isinstance(content, dict):
            return {}
        return {str(name): value for name, value in cast("dict[Any, Any]", content).items()}
