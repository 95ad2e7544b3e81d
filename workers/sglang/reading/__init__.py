"""Reading an answer where it is made: text of its tokens, taken apart by SGLang's own parsers of
thinking and tool calls.

    plan       what SGLang's chat serving makes of a request: constraint, special tokens, parsers
    reader     one request's tokens → parts
    message    text → parts, while it comes and at its end
    calls      the ids of tool calls
    families   how the parsers of each format want their text cut
    lost       what the parsers make nothing of
    tags       how much white space is allowed in the JSON of structural tags
    answer_or_call  the grammar of a response format beside tools
    shown      what went out, and what is still to go
    seam       what this relies on in SGLang

Import it after `workers.sglang.cpu.activate_if_cpu_host`: it imports SGLang.
"""

from workers.sglang.reading.plan import Plan, Readings
from workers.sglang.reading.reader import Reader

__all__ = ["Plan", "Reader", "Readings"]
