"""The file of the mesh's key."""

from pathlib import Path

import pytest

from protocol.process.start_error import StartError
from protocol.transport.curve import MeshKey, own_key


def test_a_key_file_holds_64_hex_digits(tmp_path: Path) -> None:
    short = tmp_path / "short"
    short.write_text("ab" * 31)
    for path in ("/nowhere", str(short)):
        with pytest.raises(StartError, match="64 hex"):
            MeshKey.from_file(path)


@pytest.mark.parametrize(("mode", "warned"), [(0o600, 0), (0o640, 0), (0o644, 1), (0o604, 1)])
def test_who_starts_with_a_key_that_anybody_may_read_is_warned(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, mode: int, warned: int
) -> None:
    path = tmp_path / "mesh.key"
    path.write_text("ab" * 32 + "\n")
    path.chmod(mode)
    assert own_key(str(path)) is not None
    assert len(caplog.messages) == warned
    for message in caplog.messages:
        assert f"{path} (mode {mode:04o})" in message


def test_no_key_needs_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    assert own_key(None) is None
    assert caplog.messages == []
