"""A frontend that stood still has not read yet what its workers said meanwhile: none was silent."""

import asyncio

from msgspec.structs import replace

from protocol.codec import encode
from protocol.limits import WORKER_SILENT_S_MAX
from protocol.numbering import Numbering
from tests.unit.mesh.mesh_bench import Mesh


async def test_another_way_does_not_take_the_place_of_the_first_then() -> None:
    bench = Mesh()
    await bench.run()
    now, stood_still_s = asyncio.get_running_loop().time(), WORKER_SILENT_S_MAX + 1.0
    bench.worker.hello = replace(bench.worker.hello, way=1)
    bench.worker.heard_at = now - stood_still_s
    bench.mesh._beat.cancel()
    # the beat is overdue, and sockets are read before it
    bench.mesh._beat = asyncio.get_running_loop().call_at(now - stood_still_s, lambda: None)
    hello = replace(bench.worker.hello, way=2)
    bench.receive([b"c", *encode(hello, Numbering(1).head())])
    assert bench.registry.namesake("a") is bench.worker
    assert [packed for identity, packed in bench.frames if identity == b"c"]
    bench.mesh._on_beat()
    assert bench.registry.namesake("a") is bench.worker
    bench.mesh._beat.cancel()
