"""Defines what a frontend tells a worker. Add-only: a field once published keeps its name, meaning
and default.
"""

from typing import Annotated

from msgspec import Meta, Struct

from protocol.diffusion import AskJobs, Diffuse, FetchOutput
from protocol.embedding import Embed
from protocol.encoding import Encode
from protocol.fields import Name, RequestId
from protocol.generation import Generate
from protocol.media import MEDIA_MAX, ImageSize
from protocol.siblings import SIBLINGS_MAX
from protocol.tokens import count_tokens

Asked = Generate | Embed | Diffuse
"""Is what a choice of a client's request asks of a worker."""

Work = Asked | Encode
"""Is what runs on an engine: it takes credit, can be aborted, and ends with a Delta."""


def tokens_of(work: Work) -> int:
    """Returns how many tokens of prompt an engine computes for a piece of work; of a Diffuse, what
    stands for them: its cost.
    """
    if isinstance(work, Diffuse):
        return work.cost
    if isinstance(work, Encode):
        return sum(each.tokens for each in work.media)
    return count_tokens(work.token_ids)


class Tokenize(Struct, frozen=True, tag="tokenize", omit_defaults=True):
    """A Tokenize asks a worker to make tokens of a prompt, where the model's card says that its
    workers do.

    One Tokenized answers it; it takes no credit.
    """

    query_id: RequestId
    model: Name
    deadline_unix_ms: int
    """Says by when the prompt must be tokenized, by the frontend's clock; what waits for longer is
    dropped.
    """
    text: str = ""
    add_special_tokens: bool = True
    chat: bytes = b""
    """Holds, instead of a text, the client's chat request as JSON, of which the engine's own
    template makes a prompt.
    """
    images: Annotated[list[ImageSize], Meta(max_length=MEDIA_MAX)] = []
    """Holds, instead of a text, the sizes of pictures: it is asked how many tokens each takes."""


class Abort(Struct, frozen=True, tag="abort"):
    """An Abort stops a request at whatever stage it is.

    Unknown ids are ignored; a known one still ends with its one Delta.
    """

    request_id: RequestId


class FetchFile(Struct, frozen=True, tag="fetch_file"):
    """A FetchFile asks for a file of the worker's model card by content hash; FileChunk messages
    answer it.
    """

    sha256: Annotated[str, Meta(min_length=64, max_length=64)]


class HelloWanted(Struct, frozen=True, tag="hello_wanted", omit_defaults=True):
    """A HelloWanted asks a worker to introduce itself again, since the frontend does not know its
    connection (it restarted, or the link did, or messages were lost).
    """

    heard_session: Annotated[int, Meta(ge=0, lt=2**32)] = 0
    """Is the session (protocol.numbering) of the message that this answers; if another began since,
    it is answered already.
    """


class Welcome(Struct, frozen=True, tag="welcome", omit_defaults=True):
    """A Welcome says that a Hello was accepted; requests may follow."""

    frontend_id: Name
    siblings: Annotated[int, Meta(ge=0, le=SIBLINGS_MAX)] = 0
    """Counts the frontends that are to be dialled too, at the addresses that follow the one at
    which this is said (protocol.siblings).
    """


class Refused(Struct, frozen=True, tag="refused", omit_defaults=True):
    """A Refused says that a Hello was not accepted, with the reason in one line; the worker says it
    in its log and keeps away for `pause_s`.
    """

    reason: str
    pause_s: Annotated[float, Meta(ge=0, le=3_600)] = 30.0
    """Is the pause in seconds, long by default: preparing a model again costs a frontend seconds.
    """


class AnotherWay(Struct, frozen=True, tag="another_way", omit_defaults=True):
    """An AnotherWay answers a Hello that came over a second connection of a worker whose first one
    serves.

    The worker says it again after `pause_s`: the first may have ended.
    """

    pause_s: Annotated[float, Meta(ge=0, le=3_600)] = 1.0


class FrontendHeartbeat(Struct, frozen=True, tag="frontend_heartbeat", omit_defaults=True):
    """A FrontendHeartbeat says that the frontend's loop lives; its silence makes the worker abort
    its requests.
    """

    unix_ms: Annotated[int, Meta(ge=0, le=2**63 - 1)] = 0
    """Is the frontend's clock, by which it means deadlines; 0 where it does not say."""


ToWorker = (
    Generate
    | Embed
    | Encode
    | Diffuse
    | AskJobs
    | FetchOutput
    | Tokenize
    | Abort
    | FetchFile
    | HelloWanted
    | Welcome
    | Refused
    | AnotherWay
    | FrontendHeartbeat
)
