"""Where people say a server is, with a path or without."""

import pytest

from frontend.cli.addresses import api_url


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("http://host:8000", "http://host:8000/v1"),
        ("http://host:8000/", "http://host:8000/v1"),
        ("http://host:8000/v1", "http://host:8000/v1"),
        ("http://host:8000/v1/", "http://host:8000/v1"),
        ("https://host/openai/v2", "https://host/openai/v2"),
        ("http://[::1]:8000", "http://[::1]:8000/v1"),
    ],
)
def test_endpoints_are_under_the_path_that_is_said_or_v1(said: str, meant: str) -> None:
    assert api_url(said) == meant
