"""Which pattern a path follows."""

import pytest

from frontend.http.path_patterns import PathPatterns

PATTERNS = PathPatterns(["/v1/media", "/v1/media/{id}", "/v1/videos/{video_id}/content"])


@pytest.mark.parametrize(
    ("path", "pattern"),
    [
        ("/v1/media/abc", "/v1/media/{id}"),
        ("/v1/media/..", "/v1/media/{id}"),
        ("/v1/media/a\nb", "/v1/media/{id}"),
        ("/v1/videos/x/content", "/v1/videos/{video_id}/content"),
        ("/v1/media", "/v1/media"),
        ("/v1/media/", "/v1/media/"),
        ("/v1/media/a/b", "/v1/media/a/b"),
        ("/v1/media/{id}", "/v1/media/{id}"),
        ("/v1/videos/x/contents", "/v1/videos/x/contents"),
        ("/v1xmedia/a", "/v1xmedia/a"),
    ],
)
def test_a_part_in_braces_is_one_name(path: str, pattern: str) -> None:
    assert PATTERNS.pattern_of(path) == pattern
