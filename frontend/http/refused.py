"""Writes the answers to what is no request that a handler could see."""

import http
import json


def refused(status: int, message: str, code: str) -> bytes:
    """Returns a whole answer with OpenAI's error object, after which the connection closes."""
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
    body = json.dumps({"error": error}).encode()
    head = (
        f"HTTP/1.1 {status} {http.HTTPStatus(status).phrase}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + body
