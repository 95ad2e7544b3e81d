"""Who may join the mesh without a key is said where that is any user of the host."""

from pathlib import Path
from secrets import token_hex

import pytest
import zmq

from frontend.mesh.port import open_port


@pytest.mark.parametrize("joined_by", ["any user", "who may enter its directory"])
async def test_who_may_join_without_a_key_is_said(
    joined_by: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    anybody = joined_by == "any user"
    address = f"ipc://@{token_hex(8)}" if anybody else f"ipc://{tmp_path}/mesh"
    with zmq.Context[zmq.Socket[bytes]]() as context:
        port = open_port(context, address, None)
        port.open(lambda _: None, lambda _: None).close()
        await port.deserted()
    assert ("any user of this host may join" in caplog.text) == anybody
