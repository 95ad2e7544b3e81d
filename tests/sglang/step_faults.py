"""Run as a program: faults at each per-request call of SGLang's receive loop; prints {check:
failure or null}.
"""

import asyncio
import json
import logging
import sys
from collections.abc import Collection
from types import SimpleNamespace
from typing import Any

from workers.sglang.cpu import activate_if_cpu_host

activate_if_cpu_host()

from sglang.srt.managers.io_struct import BatchTokenIDOutput  # noqa: E402

from protocol.generation import Finished  # noqa: E402
from protocol.replies import Delta, Failed  # noqa: E402
from protocol.tokens import pack_tokens  # noqa: E402
from workers.sglang.seam.steps import StepTokenizerManager  # noqa: E402

WELL, SICK = "1" * 32, "2" * 32


class Bench:
    """A manager without an engine, and two requests whose first token has come."""

    def __init__(self) -> None:
        self.manager: Any = StepTokenizerManager.__new__(StepTokenizerManager)
        self.manager.moved, self.manager.enable_metrics = [], True
        self.told: list[Delta] = []
        self.aborted: list[str] = []
        self.counted: list[str] = []
        self.manager.on_step = self.told.extend
        self.manager.abort_request = self.aborted.append
        self.manager.collect_metrics = lambda state, *_: self.counted.append(state.obj.rid)
        self.states = self.manager.rid_to_state = {rid: self._state(rid) for rid in (SICK, WELL)}

    def _state(self, rid: str) -> Any:
        output = self.manager.new_output(3)
        obj = SimpleNamespace(rid=rid, stream=True, return_logprob=False)
        output.state = SimpleNamespace(
            obj=obj,
            output_ids=[],
            finished=False,
            out_list=output,
            time_stats=SimpleNamespace(first_token_time=1.0),
        )
        output.sent = 0
        return output.state

    def step(self, tokens: int, *, ended: bool = False) -> list[Delta]:
        states = list(self.states.values())
        step = SimpleNamespace(
            rids=list(self.states),
            finished_reasons=[None] * len(states),
            output_ids=[[tokens]] * len(states),
        )
        assert self.manager._take_plain(step) is None
        if ended:
            for state in states:
                state.finished = True
                state.out_list.meta_info = {"finish_reason": {"type": "stop"}}
        self.manager._deliver_step()
        told, self.told[:] = list(self.told), []
        return told


async def an_output_that_cannot_be_read_ends_its_request_alone() -> None:
    bench = Bench()
    bench.states[SICK].output_ids = SickTokens()
    sick, well = bench.step(7)
    assert isinstance(sick.end, Failed)
    assert (sick.request_id, sick.start) == (SICK, 0)
    assert well == Delta(WELL, 0, pack_tokens([7]))
    assert bench.aborted == [SICK]
    assert not bench.states[SICK].out_list.ended.done()  # the engine still has it
    assert bench.step(8)[1] == Delta(WELL, 1, pack_tokens([8]))
    ends = bench.step(9, ended=True)
    assert isinstance(ends[0].end, Failed)
    assert isinstance(ends[1].end, Finished)
    assert all(state.out_list.ended.done() for state in bench.states.values())


class SickTokens(list[int]):
    """Cannot be sliced."""

    def __getitem__(self, _: Any) -> Any:
        raise RuntimeError("injected")


async def an_end_that_cannot_be_understood_ends_its_request_alone() -> None:
    bench = Bench()
    bench.states[SICK].out_list.meta_info = {}
    bench.step(7)
    for state in bench.states.values():
        state.finished = True
    bench.states[WELL].out_list.meta_info = {"finish_reason": {"type": "stop"}}
    bench.manager.moved[:] = [state.out_list for state in bench.states.values()]
    bench.manager._deliver_step()
    sick, well = bench.told
    assert isinstance(sick.end, Failed)
    assert isinstance(well.end, Finished)
    assert bench.aborted == []


async def a_request_that_cannot_be_counted_is_served_all_the_same() -> None:
    bench = Bench()

    def count(state: Any, *_: Any) -> None:
        if state.obj.rid == SICK:
            raise RuntimeError("injected")
        bench.counted.append(state.obj.rid)

    bench.manager.collect_metrics = count
    assert [delta.token_ids for delta in bench.step(7)] == [pack_tokens([7])] * 2
    assert bench.counted == [WELL]


async def a_step_that_cannot_be_delivered_is_not_the_end_of_the_engine() -> None:
    bench = Bench()

    def fails(_: Any) -> None:
        raise RuntimeError("injected")

    bench.manager.on_step = bench.manager.on_busy = fails
    bench.step(7)
    assert bench.manager.moved == []
    bench.manager._note_busy(None)


async def what_needs_more_than_its_tokens_is_taken_out_of_a_step() -> None:
    """What has begun, what ends, what is scored and what is not ours, beside one that goes on."""
    bench = Bench()
    begun, ended, scored = (bench._state(rid) for rid in ("begun", "ended", "scored"))
    begun.time_stats.first_token_time = 0.0
    scored.obj.return_logprob = True
    bench.states |= {"begun": begun, "ended": ended, "scored": scored}
    rids = ["begun", SICK, "ended", "nobody's", WELL, "scored"]
    rest = bench.manager._take_plain(a_step(rids, ends={"ended"}))
    assert rest.rids == ["begun", "ended", "nobody's", "scored"]
    assert rest.output_ids == [[0], [2], [3], [5]]
    bench.manager._deliver_step()
    assert bench.told == [Delta(SICK, 0, pack_tokens([1])), Delta(WELL, 0, pack_tokens([4]))]


async def a_step_that_cannot_be_divided_is_taken_whole() -> None:
    bench = Bench()
    step = a_step([WELL, "nobody's", SICK, "nobody's either"])
    step.prompt_tokens.pop()
    assert bench.manager._take_plain(step) is step
    assert not any(state.output_ids or bench.manager.moved for state in bench.states.values())


def a_step(rids: list[str], ends: Collection[str] = ()) -> BatchTokenIDOutput:
    """Returns what a scheduler sends of these requests, each with its index as its token."""
    told: dict[str, Any] = dict.fromkeys(BatchTokenIDOutput.__struct_fields__)
    told["rids"] = rids
    told["finished_reasons"] = [{"type": "stop"} if rid in ends else None for rid in rids]
    told["output_ids"] = [[index] for index in range(len(rids))]
    told["prompt_tokens"] = [3] * len(rids)
    return BatchTokenIDOutput(**told)


CHECKS = [
    an_output_that_cannot_be_read_ends_its_request_alone,
    an_end_that_cannot_be_understood_ends_its_request_alone,
    a_request_that_cannot_be_counted_is_served_all_the_same,
    a_step_that_cannot_be_delivered_is_not_the_end_of_the_engine,
    what_needs_more_than_its_tokens_is_taken_out_of_a_step,
    a_step_that_cannot_be_divided_is_taken_whole,
]


def main() -> None:
    logging.disable(logging.CRITICAL)
    failures: dict[str, str | None] = {}
    for check in CHECKS:
        try:
            failures[check.__name__] = asyncio.run(check())
        except Exception as error:  # noqa: BLE001 - a check's failure is its result
            failures[check.__name__] = f"{type(error).__name__}: {error}"[:1500]
    json.dump(failures, sys.stdout)


if __name__ == "__main__":
    main()
