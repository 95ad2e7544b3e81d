"""What a browser sends for a page without asking first."""

import json

import pytest

from tests.security.another_user import AnotherUser
from tests.security.probed_fleet import ProbedFleet

BODY = json.dumps(
    {"model": "demo", "messages": [{"role": "user", "content": "x"}], "max_tokens": 1}
).encode()
PAGE = {"origin": "http://evil.example"}


@pytest.mark.parametrize("page", [PAGE, {"sec-fetch-site": "cross-site"}, {"origin": "null"}])
@pytest.mark.parametrize(
    "kind",
    ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"],
)
def test_a_page_that_does_not_say_json_is_refused(
    probed: ProbedFleet, page: dict[str, str], kind: str
) -> None:
    status, answer = probed.post("/v1/chat/completions", BODY, **page, **{"content-type": kind})
    assert status == 415
    assert b"application/json" in answer


def test_programs_need_not_say_what_they_send_and_pages_may_say_json(probed: ProbedFleet) -> None:
    assert probed.post("/v1/chat/completions", BODY, **{"content-type": ""})[0] == 200
    assert (
        probed.post("/v1/chat/completions", BODY, **{"content-type": "", "sec-fetch-site": "none"})[
            0
        ]
        == 200
    )
    # a browser has asked for this, and was told no
    assert probed.post("/v1/chat/completions", BODY, **PAGE)[0] == 200


REBOUND = {"host": "evil.example:8000", "origin": "http://evil.example:8000"}


@pytest.mark.parametrize(
    "path", ["/v1/chat/completions", "/v1/load_lora_adapter", "/abort_request"]
)
def test_a_page_whose_name_was_made_to_stand_for_this_host_is_refused(
    probed: ProbedFleet, path: str
) -> None:
    with AnotherUser(probed.fleet):
        status, answer = probed.post(path, BODY, **REBOUND)
    assert status == 403
    assert json.loads(answer)["error"]["code"] == "foreign_host"


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1", "[::1]:8000", "chat.localhost"])
def test_pages_of_this_host_are_served(probed: ProbedFleet, host: str) -> None:
    assert probed.post("/v1/chat/completions", BODY, host=host, origin=f"http://{host}")[0] == 200


def test_programs_may_come_under_any_name(probed: ProbedFleet) -> None:
    # as a proxy leaves it
    assert probed.post("/v1/chat/completions", BODY, host="llm.example")[0] == 200
