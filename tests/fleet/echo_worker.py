"""`python -m tests.fleet.echo_worker --echo …`: a worker of a type that the project does not have.

All that a new type asks for: an engine, a record, and a row in the table. What it answers is the
prompt.
"""

import asyncio
import sys
from typing import Final

from protocol.generation import Finished, Generate
from protocol.membership import Capacity, RankLoad
from protocol.replies import Delta
from protocol.requests import Work
from protocol.tokens import count_tokens
from workers.app import run
from workers.demo_model import demo_model_dir
from workers.engine import Deliver, EngineFacts, OnDeath
from workers.kinds.kind import EngineChoice, Serving, WorkerKind
from workers.kinds.registry import KINDS
from workers.kinds.text import GENERATIONS
from workers.mesh.model_card import build_card

_FLAG: Final = "--echo"


class EchoEngine:
    """Says what it is told, in one step."""

    async def start(self, deliver: Deliver, on_death: OnDeath) -> EngineFacts:
        self._deliver = deliver
        card, card_files = build_card(demo_model_dir(), name="echo")
        capacity = Capacity(dp_size=1, page_size_tokens=16, kv_tokens=4_096, requests_running_max=8)
        return EngineFacts(card=card, card_files=card_files, capacity=capacity, version="echo")

    def submit(self, request: Work) -> None:
        said = request.token_ids
        end = Finished("length", count_tokens(said), count_tokens(said))
        asyncio.get_running_loop().call_soon(
            self._deliver, [Delta(request.request_id, 0, said, end)]
        )

    def abort(self, request_id: str) -> None: ...

    def loads(self) -> list[RankLoad]:
        return [RankLoad(0, 0, 0, 0)]

    async def stop(self) -> None: ...

    async def kill(self) -> None: ...


ECHO: Final = WorkerKind(
    name="echo",
    chosen_by=lambda arguments: _FLAG in arguments.engine_argv,
    engines={"sim": EngineChoice(lambda *_: EchoEngine(), lambda: f"{_FLAG}  say the prompt")},
    serving=Serving(
        service="text",
        endpoint="dyn://kvmesh.echo.generate",
        takes=(Generate,),
        canaries=GENERATIONS.canaries,
        first_work=GENERATIONS.first_work,
    ),
)

if __name__ == "__main__":
    KINDS.insert(0, ECHO)
    sys.exit(run(sys.argv[1:]))
