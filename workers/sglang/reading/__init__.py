"""An answer is read where it is made: the text of its tokens is taken apart by SGLang's own parsers
of thinking and tool calls.

    plan       what SGLang's chat serving makes of a request: constraint, special tokens, parsers
    serving    that chat serving, for prompts that are rendered already
    reader     one request's tokens → parts
    message    text → parts, while it comes and at its end
    parsers    SGLang's parsers for one request; stream runs those of streams in a row
    whole      an answer as the parsers of whole texts read it
    calls      the ids of tool calls
    families   how the parsers of each format want their text cut
    lost       what the parsers make nothing of
    tags       how much white space is allowed in the JSON of structural tags
    answer_or_call  the grammar of a response format beside tools
    shown      what went out, and what is still to go; shown_call, of one call

Import it after `workers.sglang.cpu.activate_if_cpu_host`: it imports SGLang.
"""

from workers.sglang.reading.plan import Plan, Readings
from workers.sglang.reading.reader import Reader

__all__ = ["Plan", "Reader", "Readings"]
