"""Errors of pages, as those of hot paths are told."""

from starlette.responses import Response

from frontend.http.headers import error_headers
from protocol.error_answers import error_body, error_status
from protocol.errors import InternalFault, MeshError


def error_response(error: MeshError) -> Response:
    """Returns the answer that tells an error."""
    return Response(
        error_body(error),
        status_code=error_status(error),
        headers={
            name.decode(): value.decode() for name, value in error_headers(error, closing=False)
        },
        media_type="application/json",
    )


def defect_response() -> Response:
    """Returns the answer of a page that failed, which says nothing of why."""
    return error_response(InternalFault("The server had an error while processing your request."))
