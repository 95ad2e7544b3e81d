"""A worker that is asked for the demo model that sees is told where it lies."""

from typing import Final

from protocol.process.start_error import StartError
from workers.demo_model import DEMO_TOOL_CALL_PARSER, demo_model_dir
from workers.kinds.arguments import Arguments

_PARSER_FLAG: Final = "--tool-call-parser"


def with_demo(arguments: Arguments) -> Arguments:
    """Returns the arguments with the path of the demo model that the settings name, and its parser
    of tool calls; the text demo is what engines take by themselves.

    Raises:
        StartError: another model is named too, or the demo model is not installed here.
    """
    if arguments.settings.demo == "text":
        return arguments
    if arguments.told("--model-path", "--model"):
        raise StartError("--demo and --model-path exclude each other: each names a model")
    found = arguments.adding("--model-path", str(demo_model_dir("vision")))
    if arguments.settings.engine == "sim" or arguments.told(_PARSER_FLAG):
        return found
    return found.adding(_PARSER_FLAG, DEMO_TOOL_CALL_PARSER)
