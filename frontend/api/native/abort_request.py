"""POST /abort_request ends a request by its name, as with SGLang."""

from collections.abc import Awaitable, Callable, Iterable

import msgspec
from msgspec import Struct

from frontend.api.fields.parsing import BodyParser
from frontend.api.launching import Launcher
from frontend.api.native.schemas import Label
from frontend.http.aborting import abort
from frontend.http.exchange import Exchange
from protocol.errors import InvalidRequest, UnsupportedParameter


class AbortRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An AbortRequest is the body of POST /abort_request: either `rid` or `abort_all`."""

    rid: Label | None = None
    """Names a request by the id in its answer, by its x-request-id or by its rid of /generate, as
    its client gave it.
    """
    abort_all: bool = False


_parser = BodyParser(AbortRequest, {})
_encode = msgspec.json.Encoder().encode


class Aborter:
    """An Aborter handles POST /abort_request.

    Args:
        exchanges: those that are being answered.
        allow_all: whether one client may end the requests of all.
        elsewhere: aborts as `abort` does in sibling processes; None where there are none.
    """

    def __init__(
        self,
        exchanges: Callable[[], Iterable[Exchange]],
        *,
        allow_all: bool,
        elsewhere: Callable[[str | None], Awaitable[int]] | None = None,
    ) -> None:
        self._exchanges = exchanges
        self._elsewhere = elsewhere
        self._allow_all = allow_all

    async def __call__(self, exchange: Exchange, _: Launcher) -> None:
        """Aborts what goes by the name in the body; that there is nothing of the name is no error,
        since it may just have ended.
        """
        request = await _parser.read(exchange)
        if request.abort_all and not self._allow_all:
            raise UnsupportedParameter(
                (
                    "abort_all would end the requests of other clients too; name one by rid, or "
                    "start the frontend with --allow-abort-all."
                ),
                param="abort_all",
            )
        if not request.abort_all and not request.rid:
            raise InvalidRequest("The rid of the request to abort must be given.", param="rid")
        others = (other for other in self._exchanges() if other is not exchange)
        aborted = abort(others, None if request.abort_all else request.rid)
        if self._elsewhere is not None:
            aborted += await self._elsewhere(None if request.abort_all else request.rid)
        await exchange.send_json(200, _encode({"aborted": aborted}))
