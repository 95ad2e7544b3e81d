"""What a model would say that knows what to do: decided from the prompt alone, so that a prompt
that lost something shows.

The demo model is too small to work with an agent. It still makes the answers, token by token on
real SGLang, held to this text by a grammar.
"""

import json
import re
from collections.abc import Iterable
from typing import Final

_ARGUMENT: Final = {"Read": "file_path", "exec_command": "cmd", "read": "filePath"}
"""The tool with which Claude Code, Codex and opencode look into a file → its argument."""

_PATH: Final = re.compile(r"Read (/\S+\.txt)")
_WORD: Final = re.compile(r"secret word is (\w+)")

TASK: Final = "Read {path} and tell me the secret word."
"""What an agent is asked."""


def said(prompt: str, tools: Iterable[str]) -> str:
    """The answer to a prompt in ChatML: the file is read where the user's last turn names one, and
    its word told where a tool read it.

    Args:
        tools: names of those that may be called.
    """
    last = prompt.rpartition("<|im_start|>user")[2]
    tool = next((name for name in tools if name in _ARGUMENT), None)
    if "<tool_response>" in last:
        word = _WORD.search(last)
        return f"The word is {word.group(1)}." if word else "The file has no word."
    path = _PATH.search(last)
    if path is None or tool is None:
        return "A file and its word"
    value = f"cat {path.group(1)}" if tool == "exec_command" else path.group(1)
    call = json.dumps({"name": tool, "arguments": {_ARGUMENT[tool]: value}})
    return f"<tool_call>\n{call}\n</tool_call>"
