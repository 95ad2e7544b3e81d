"""What a browser sends for a page without asking first."""

import json

import pytest

from tests.security.probed_fleet import ProbedFleet

BODY = json.dumps(
    {"model": "demo", "messages": [{"role": "user", "content": "x"}], "max_tokens": 1}
).encode()
PAGE = {"origin": "http://evil.example"}


@pytest.mark.parametrize(
    "page",
    [PAGE, {**PAGE, "host": "evil.example"}, {"sec-fetch-site": "cross-site"}, {"origin": "null"}],
)
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
