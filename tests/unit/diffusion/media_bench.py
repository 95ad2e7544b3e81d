"""A DiffusionEngine over a generator that does what its test says, on simulated time."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from protocol.diffusion import AskJobs, Diffuse, Diffused, FetchOutput, Job, Output, Progress
from protocol.errors import WorkerLost
from protocol.membership import Capacity, ModelCard
from protocol.replies import Delta
from workers.diffusion.engine import DiffusionEngine
from workers.diffusion.generator import Made, OnFree, OnStep, Step
from workers.diffusion.outputs import Keeping, Outputs
from workers.engine import EngineFacts, OnDeath, OutputSource

STEP_S = 1.0
STEPS = 4
NOW_MS = 1_000_000.0
TAG = "5" * 16
CARD = ModelCard("m", context_length=1, vocab_size=1, eos_token_ids=[], files=[])


def named(number: int) -> str:
    return f"{number:032x}"


class FakeGenerator:
    """Takes STEP_S a step.

    Attributes:
        made: prompts of what it was given to make, in order.
        written: prompts of what it was slow to write.
        raises: what happens in the next order's first step instead.
        back_s: how long it takes until it can take an order again that was cancelled.
        size_bytes: of each output.
        hangs: it makes no step.
        write_s: how long it takes to write an output, while it can make the next order; 0: it does
        not say so.
    """

    def __init__(self) -> None:
        self.made: list[str] = []
        self.written: list[str] = []
        self.raises: Exception | None = None
        self.back_s = 0.0
        self.size_bytes = 10
        self.step_s = STEP_S
        self.hangs = False
        self.write_s = 0.0
        self.too_few = False
        self.elsewhere: Path | None = None
        self.stopped = False
        self.first_orders: list[Diffuse] = []
        self.first_raises: list[Exception] = []
        self._started = False
        self._back = asyncio.Event()
        self._back.set()

    async def start(self, on_death: OnDeath) -> EngineFacts:
        capacity = Capacity(dp_size=1, kv_tokens=1, page_size_tokens=1, requests_running_max=1)
        return EngineFacts(CARD, {}, capacity, "fake", generates=False)

    async def make(
        self, order: Diffuse, into: Path, on_step: OnStep, on_free: OnFree
    ) -> Sequence[Made]:
        if order.prompt == "first":
            self.first_orders.append(order)
            if self.first_raises:
                raise self.first_raises.pop(0)
            return []
        await self._back.wait()
        self.made.append(order.prompt)
        steps, made = order.steps or STEPS, list[Made]()
        try:
            for index in range(order.count):
                for step in range(1, steps + 1):
                    await asyncio.sleep(self.step_s)
                    while self.hangs:
                        await asyncio.sleep(self.step_s)
                    error, self.raises = self.raises, None
                    if error is not None:
                        raise error
                    preview = None
                    if order.previews and step < steps:
                        preview = await self._file(into / f"preview-{index}-{step}", order)
                    number = index * steps + step
                    on_step(Step(number, steps * order.count, index, preview))
                made.append(await self._file((self.elsewhere or into) / f"output-{index}", order))
        except asyncio.CancelledError:
            self._back.clear()
            asyncio.get_running_loop().call_later(self.back_s, self._back.set)
            raise
        if self.write_s:
            on_free()
            await asyncio.sleep(self.write_s)
            self.written.append(order.prompt)
        return made[1:] if self.too_few else made

    async def ready(self) -> None:
        while self.hangs:
            await asyncio.sleep(self.step_s)
        error, self.raises = self.raises, None
        if error is not None:
            raise error

    async def stop(self) -> None:
        self.stopped = True

    async def _file(self, path: Path, order: Diffuse) -> Made:
        content = order.prompt.encode().ljust(self.size_bytes, b".")
        await asyncio.to_thread(path.write_bytes, content)
        return Made(path, order.format, 8, 8, seed=order.seed)


class MediaBench:
    """An engine that was started, and all that came of it.

    Attributes:
        ends: by request.
        told: what was told of the progress of each request.
    """

    def __init__(self, folder: Path, *, keeping: Keeping | None = None, **options: Any) -> None:
        self.folder = folder
        self.generator = FakeGenerator()
        self.ahead_ms = 0.0
        self.ends: dict[str, list[Any]] = defaultdict(list)
        self.told: dict[str, list[Progress]] = defaultdict(list)
        keeping = keeping or Keeping()
        self.outputs = Outputs(folder, keeping, unix_ms=self.unix_ms, **options)
        self.engine = DiffusionEngine(
            self.generator,
            self.outputs,
            lifetime_s=keeping.lifetime_s,
            first_order=lambda _: Diffuse(named(0), "m", "first", 0, width=512, height=512),
            unix_ms=self.unix_ms,
        )
        self.source: OutputSource | None = None
        self.changes = 0

    def unix_ms(self) -> float:
        return NOW_MS + asyncio.get_running_loop().time() * 1000 + self.ahead_ms

    async def started(self) -> "MediaBench":
        facts = await self.engine.start(self._deliver, lambda _: None)
        assert facts.outputs is not None
        self.source = facts.outputs
        self.source.open(TAG, self._note_change)
        return self

    def submit(self, number: int, **fields: Any) -> str:
        """Hand in an order whose prompt is its number."""
        within_s = fields.pop("within_s", 10_000.0)
        deadline = int(self.unix_ms() + within_s * 1000)
        prompt = fields.pop("prompt", str(number))
        self.engine.submit(Diffuse(named(number), "m", prompt, deadline, **fields))
        return named(number)

    async def end_of(self, number: int) -> Any:
        while not self.ends[named(number)]:
            await asyncio.sleep(STEP_S / 10)
        [end] = self.ends[named(number)]
        return end

    async def made(self, number: int) -> list[Output]:
        end = await self.end_of(number)
        assert isinstance(end, Diffused), end
        return end.outputs

    async def read(self, output: Output, offset: int = 0, size: int = 1 << 18) -> bytes | None:
        assert self.source is not None
        chunk = await self.source.read(FetchOutput(named(1), output.output_id, offset, size))
        return None if chunk.output is None else chunk.data

    def jobs(self, job_id: str = "", *, forget: bool = False) -> list[Job]:
        assert self.source is not None
        return self.source.tell(AskJobs(named(1), job_id, forget)).jobs

    @property
    def owed(self) -> int:
        assert self.source is not None
        return self.source.owed

    @property
    def load(self) -> tuple[int, int, int]:
        [load] = self.engine.loads()
        return load.requests_running, load.requests_waiting, load.waiting_uncached_tokens

    @property
    def files(self) -> list[str]:
        """What lies in the folder."""
        return [str(path.relative_to(self.folder)) for path in self.folder.rglob("*.png")]

    @property
    def left(self) -> list[int]:
        """The sizes of all that could leak."""
        engine = self.engine
        return [len(engine._line), len(engine._canaries), len(engine._makings())]

    def _note_change(self) -> None:
        self.changes += 1

    def _deliver(self, deltas: Sequence[Delta]) -> None:
        for delta in deltas:
            assert not self.ends[delta.request_id], "told after its end"
            if delta.end is not None:
                self.ends[delta.request_id].append(delta.end)
            else:
                assert delta.extras is not None
                assert delta.extras.progress is not None
                self.told[delta.request_id].append(delta.extras.progress)


LOST = WorkerLost("its process died")
