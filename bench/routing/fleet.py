"""Frontends and ranks put together on one virtual clock, and what is measured of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from bench.routing.clock import Clock
from bench.routing.engine_rank import BLOCK_TOKENS, EndingText, EngineRank
from bench.routing.frontend_side import FrontendSide
from bench.routing.perfect import PerfectCache
from bench.routing.workloads import MAX_OUTPUT_RATIO, Script, Users, Workload
from frontend.routing.leaders import HELD_S_MAX
from frontend.routing.policy import Policy
from frontend.routing.router import Lifetimes, RouterMode
from protocol.generation import Finished, Generate, Sampling
from protocol.kv_stream import Change
from protocol.limits import HEARTBEAT_INTERVAL_S
from protocol.membership import RankLoad
from protocol.replies import Delta

NETWORK_S = 0.000_5
REPORT_DELAY_S = 0.001
EVENT_DELAY_S = 0.002
DRAIN_S_MAX = 120.0
_FOREVER_MS = 1 << 52


@dataclass(slots=True)
class Asked:
    """One request from its arrival at a frontend to its end there. Times in s, counts in tokens."""

    script: Script
    arrived_at: float
    frontend: int
    prompt: bytes
    prompt_tokens: int
    rank: int = -1
    perfect: int = 0
    predicted: int = 0
    cached: int = 0
    output: bytes = b""
    output_tokens: int = 0
    first_at: float = 0.0
    ended_at: float = 0.0


class Fleet:
    """Runs one workload to its end.

    Args:
        event_delay_s: from the engine's flush to the frontends' index.
        held: frontends keep back who shares what another one has yet to compute.
    """

    def __init__(
        self,
        workload: Workload,
        ranks: int,
        mode: RouterMode,
        policies: Sequence[Policy],
        lifetimes: Lifetimes,
        *,
        seed: int,
        event_delay_s: float = EVENT_DELAY_S,
        report_s: float = HEARTBEAT_INTERVAL_S,
        held: bool = True,
    ) -> None:
        self.clock, self._random = Clock(), Random(seed)
        self._workload, self._mode = workload, mode
        self._event_delay_s, self._report_s = event_delay_s, report_s
        self._span_s = workload.span_s[ranks]
        self.frontends = [
            FrontendSide(
                mode,
                policy,
                ranks,
                workload.kv_tokens,
                BLOCK_TOKENS,
                lifetimes,
                self._random,
                held=held,
            )
            for policy in policies
        ]
        text = EndingText(workload.output_mean, seed)
        publish = self._publish if mode == "kv" else None
        self.engines = [
            EngineRank(self.clock, i, workload.kv_tokens, text, self._deliver, publish)
            for i in range(ranks)
        ]
        self._max_new = int(workload.output_mean * MAX_OUTPUT_RATIO)
        self._perfect = PerfectCache()
        self._open: dict[str, Asked] = {}
        self.done: list[Asked] = []
        self.cut_off = 0
        """Requests unfinished when the drain was given up."""

    def run(self, rate: float, seed: int) -> None:
        """Play the workload."""
        users = self._workload.users(len(self.engines), rate, seed)
        self._next_user(users)
        for index in range(len(self.engines)):
            self.clock.after(self._random.uniform(0, self._report_s), self._heartbeat, index)
        for frontend in self.frontends:
            self.clock.after(self._random.uniform(0, HEARTBEAT_INTERVAL_S), self._beat, frontend)
        self.clock.after(self._workload.warm_s, self._begin_measuring)
        self.clock.after(self._span_s, self._end_measuring)
        self.clock.run(
            lambda: self.clock.now > self._span_s + 1 and not self._open, self._span_s + DRAIN_S_MAX
        )
        self.cut_off = len(self._open)

    def _next_user(self, users: Users) -> None:
        start = next(users, None)
        if start is not None and start[0] < self._span_s:
            self.clock.after(max(0.0, start[0] - self.clock.now), self._start, start[1], users)

    def _start(self, script: Script, users: Users) -> None:
        self._go_on(script, None)
        self._next_user(users)

    def _go_on(self, script: Script, answer: bytes | None) -> None:
        """Let a user do the next thing, unless time is over."""
        if self.clock.now >= self._span_s:
            return
        try:
            wish = next(script) if answer is None else script.send(answer)
        except StopIteration:
            return
        if isinstance(wish, bytes):
            self._ask(script, wish)
        else:
            self.clock.after(wish, self._go_on, script, None)

    def _ask(self, script: Script, prompt: bytes) -> None:
        frontend = self._random.randrange(len(self.frontends)) if len(self.frontends) > 1 else 0
        asked = Asked(
            script,
            self.clock.now,
            frontend,
            prompt,
            len(prompt) // 4,
            perfect=self._perfect.arrived(prompt),
        )
        request_id = f"{frontend}{len(self._open) + len(self.done):031x}"
        self._open[request_id] = asked
        side = self.frontends[frontend]
        request = Generate(request_id, "m", prompt, Sampling(self._max_new), _FOREVER_MS)
        asked.rank, asked.predicted, leader = side.place(request, self.clock.now)
        if leader is None:
            self._send(request)
            return
        if side.leaders.follow(leader, request_id, request):
            self.clock.after(HELD_S_MAX, self._let_go, side, leader)

    def _let_go(self, side: FrontendSide, request_id: str) -> None:
        for request in side.leaders.computed(request_id):
            self._send(request)

    def _send(self, request: Generate) -> None:
        rank = self._open[request.request_id].rank
        self.clock.after(NETWORK_S, self.engines[rank].receive, request)

    def _deliver(self, deltas: list[Delta]) -> None:
        self.clock.after(NETWORK_S, self._receive, deltas)

    def _receive(self, deltas: list[Delta]) -> None:
        now = self.clock.now
        for delta in deltas:
            asked = self._open[delta.request_id]
            side = self.frontends[asked.frontend]
            bookings = side.bookings
            if not asked.output_tokens:
                asked.first_at = now
                bookings[delta.request_id].note_token()
                self._let_go(side, delta.request_id)
            asked.output += delta.token_ids
            asked.output_tokens = len(asked.output) // 4
            if delta.end is not None:
                assert isinstance(delta.end, Finished), delta.end
                bookings.pop(delta.request_id).release()
                self._finish(delta.request_id, asked, delta.end.cached_tokens)

    def _finish(self, request_id: str, asked: Asked, cached: int) -> None:
        asked.ended_at, asked.cached = self.clock.now, cached
        self._perfect.answered(asked.prompt, asked.output)
        del self._open[request_id]
        output, asked.prompt, asked.output = asked.output, b"", b""
        self.done.append(asked)
        self._go_on(asked.script, None if isinstance(asked.script, float) else output)

    def _publish(self, index: int, changes: list[Change]) -> None:
        for frontend in self.frontends:
            self.clock.after(self._event_delay_s, self._apply, frontend, index, changes)

    def _apply(self, frontend: FrontendSide, index: int, changes: list[Change]) -> None:
        frontend.apply(index, changes, self.clock.now)

    def _heartbeat(self, index: int) -> None:
        self.clock.after(REPORT_DELAY_S, self._report, index, self.engines[index].load())
        self.clock.after(self._report_s, self._heartbeat, index)

    def _report(self, index: int, load: RankLoad) -> None:
        for frontend in self.frontends:
            frontend.report(index, load)

    def _beat(self, frontend: FrontendSide) -> None:
        frontend.beat(self.clock.now)
        self.clock.after(HEARTBEAT_INTERVAL_S, self._beat, frontend)

    def _begin_measuring(self) -> None:
        for engine in self.engines:
            engine.begin_measuring()

    def _end_measuring(self) -> None:
        for engine in self.engines:
            engine.count(0)
        self.loads = [
            engine.load_integral / (self._span_s - self._workload.warm_s) for engine in self.engines
        ]
        self.busy = [
            engine.busy_s / (self._span_s - self._workload.warm_s) for engine in self.engines
        ]
