"""Slashes too many."""

import pytest

from frontend.http.tidy_paths import tidied


def scope_of(raw: str, path: str) -> dict[str, object]:
    return {"raw_path": raw.encode(), "path": path, "method": "GET"}


@pytest.mark.parametrize("path", ["/", "", "/v1/models", "/v1/models/%2Fx%2F"])
def test_a_tidy_path_is_left_alone(path: str) -> None:
    scope = scope_of(path, "as the server has it")
    assert tidied(scope) is scope


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        ("//", "/"),
        ("//v1/models", "/v1/models"),
        ("/v1//models///", "/v1/models"),
        ("/v1/models/%2Fa%2F%2Fb%C3%BC/", "/v1/models//a//bü"),
    ],
)
def test_slashes_too_many_go_and_escaped_ones_stay(raw: str, path: str) -> None:
    scope = scope_of(raw, "?")
    assert tidied(scope)["path"] == path
    assert scope["path"] == "?"  # the server reads its own
