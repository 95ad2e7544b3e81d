"""Grammars that would end the engine or hold it up are kept from it: each is tried in a process of
its own before the engine sees it.
"""

import asyncio
import hashlib
import logging
import os
from collections import OrderedDict
from typing import Any, Final

from protocol.errors import InvalidRequest, Overloaded
from protocol.generation import Grammar
from protocol.limits import GRAMMAR_BYTES_MAX
from workers.sglang.grammars.messages import Verdict
from workers.sglang.grammars.trial_process import TrialProcess

log = logging.getLogger(__name__)

REMEMBERED_MAX: Final = 4_096
"""At most this many verdicts are remembered, some hundred bytes each beside their grammar's hash;
the one not asked for the longest time is forgotten first.
"""

QUICK_CPU_S: Final = 0.3
"""Every grammar is first given this many seconds of CPU time. A usual one takes 15 to 60 ms, and
waits for no slow one.
"""

SLOW_CPU_S: Final = 5.0
"""A grammar that needs more is then given this many seconds of CPU time, of all threads together.

A schema with a thousand properties takes less than one.
"""

TRIALS_MAX: Final = 64
"""At most this many grammars have or wait for their first time: 10 s, if all of them are slow."""

SLOW_MAX: Final = 12
"""At most this many slow grammars run or wait, which may take a minute."""

_POLL_S: Final = 0.001
_POLLS_MAX: Final = 30_000

_Key = tuple[str, bytes]

_FIRST: Final = Grammar("json_schema", '{"type":"object"}')
"""The first grammar that is tried is the one that response_format json_object comes to."""


def set_grammar_defaults() -> None:
    """Says how SGLang's scheduler waits for a grammar and bounds thinking, unless the user said it.

    Each of its steps waits a poll for grammars that are not compiled yet, and with it all that run:
    by default 5 ms, which doubles a step. What passed its trial is ready long before the last poll.
    And without any bound on thinking it keeps to no request's either, in most formats
    (--enable-strict-thinking).
    """
    os.environ.setdefault("SGLANG_GRAMMAR_POLL_INTERVAL", str(_POLL_S))
    os.environ.setdefault("SGLANG_GRAMMAR_MAX_POLL_ITERATIONS", str(_POLLS_MAX))
    os.environ.setdefault("SGLANG_MAX_THINK_TOKENS", str(2**31 - 1))


class Lane:
    """A Lane runs the grammars that are given the same time.

    Args:
        at_once: of them that run: each can take a core.
        inside_max: of them that run or wait.
    """

    def __init__(self, cpu_s: float, *, at_once: int, inside_max: int) -> None:
        self.cpu_s = cpu_s
        self._places = asyncio.Semaphore(at_once)
        self._inside_max = inside_max
        self._inside = 0

    async def run(self, trial: "_Trial", process: TrialProcess) -> Verdict:
        """Returns the verdict on a grammar, whose trial cannot be called off once it runs.

        Raises:
            Overloaded: too many others wait.
        """
        if self._inside >= self._inside_max:
            field = trial.grammar.field or "The grammar"
            raise Overloaded(
                f"{field} waits for too many others to be compiled. Please retry shortly.",
                param=trial.grammar.field or None,
            )
        self._inside += 1
        try:
            async with self._places:
                trial.runs = True
                return await process.answer(trial.grammar, self.cpu_s)
        finally:
            trial.runs = False
            self._inside -= 1


class _Trial:
    """A _Trial is a grammar without a verdict.

    Attributes:
        wanted: requests that wait for it.
        runs: whether the process is at it.
    """

    __slots__ = ("grammar", "runs", "task", "wanted")

    def __init__(self, grammar: Grammar) -> None:
        self.grammar = grammar
        self.wanted = 0
        self.runs = False
        self.task: asyncio.Task[str | None] | None = None


class GrammarGuard:
    """A GrammarGuard tries grammars for one engine, in a process that `warm_up` starts; without it
    the first grammar does and waits for it, for seconds.

    A grammar is first given as much time as nearly all need. One that needs more waits for its like
    and holds up no others. One that nobody waits for any more is forgotten, unless it runs.

    Args:
        manager: SGLang's TokenizerManager, started.
    """

    def __init__(self, manager: Any) -> None:
        self._manager = manager
        self._process = TrialProcess(manager)
        self._verdicts: OrderedDict[_Key, Verdict] = OrderedDict()
        self._trials: dict[_Key, _Trial] = {}
        self._quick = Lane(QUICK_CPU_S, at_once=2, inside_max=TRIALS_MAX)
        self._slow = Lane(SLOW_CPU_S, at_once=1, inside_max=SLOW_MAX)

    def warm_up(self) -> None:
        """Starts the process that tries grammars, to be ready by the time that somebody has one."""
        if self._is_xgrammar:
            self._begin(_key_of(_FIRST), _FIRST)

    @property
    def _is_xgrammar(self) -> bool:
        # None: by default it is xgrammar
        return self._manager.server_args.grammar_backend in (None, "xgrammar")

    async def check(self, grammar: Grammar) -> None:
        """Returns once the grammar may go to the engine.

        Raises:
            InvalidRequest: it is no grammar, or takes too much time or memory; names the client's
            field.
            Overloaded: too many others are being tried; names the field too.
            EngineFault: grammars cannot be tried.
        """
        if not self._is_xgrammar:
            return
        field = grammar.field or "The grammar"
        # one of a chat's tools, since a client's own is measured before
        if len(grammar.text) > GRAMMAR_BYTES_MAX:
            raise InvalidRequest(
                f"{field} makes a grammar of more than {GRAMMAR_BYTES_MAX} characters.",
                param=grammar.field or None,
            )
        key = _key_of(grammar)
        verdict = self._verdicts.get(key)
        if verdict is not None:
            self._verdicts.move_to_end(key)
        refused = (
            await self._tried(key, grammar)
            if verdict is None or verdict.out_of_time
            else verdict.refused
        )
        if refused is not None:
            raise InvalidRequest(f"{field} cannot be used: {refused}.", param=grammar.field or None)

    async def _tried(self, key: _Key, grammar: Grammar) -> str | None:
        trial = self._trials.get(key) or self._begin(key, grammar)
        assert trial.task is not None
        trial.wanted += 1
        try:
            # others may wait for it when this request is aborted
            return await asyncio.shield(trial.task)
        finally:
            trial.wanted -= 1
            if not trial.wanted and not trial.runs and not trial.task.done():
                self._trials.pop(key, None)
                trial.task.cancel()

    def _begin(self, key: _Key, grammar: Grammar) -> _Trial:
        trial = self._trials[key] = _Trial(grammar)
        trial.task = asyncio.get_running_loop().create_task(self._try(key, trial))
        trial.task.add_done_callback(lambda task: self._end(key, trial, task))
        return trial

    def _end(self, key: _Key, trial: _Trial, task: asyncio.Task[str | None]) -> None:
        if self._trials.get(key) is trial:
            del self._trials[key]
        if not task.cancelled():
            task.exception()  # told to whoever waits, who may be gone, and logged

    async def _try(self, key: _Key, trial: _Trial) -> str | None:
        if key not in self._verdicts:
            verdict = await self._quick.run(trial, self._process)
            self._remember(key, verdict)
            if not verdict.out_of_time:
                return verdict.refused
            if not trial.wanted:
                del self._trials[key]
                return None
        verdict = await self._slow.run(trial, self._process)
        grammar = trial.grammar
        log.info(
            "a %s of %d characters took %.1f s: %s",
            grammar.kind,
            len(grammar.text),
            verdict.cpu_s,
            verdict.refused or "fine",
        )
        self._remember(key, Verdict(verdict.number, verdict.refused, verdict.cpu_s))
        return verdict.refused

    def _remember(self, key: _Key, verdict: Verdict) -> None:
        self._verdicts[key] = verdict
        while len(self._verdicts) > REMEMBERED_MAX:
            self._verdicts.popitem(last=False)

    def close(self) -> None:
        """Ends the process that tries grammars, and what waits for it."""
        for trial in self._trials.values():
            if trial.task is not None:
                trial.task.cancel()
        self._process.kill()

    async def ended(self) -> None:
        """Waits until the process that tries grammars is gone."""
        await self._process.ended()


def _key_of(grammar: Grammar) -> _Key:
    return grammar.kind, hashlib.blake2b(grammar.text.encode(), digest_size=32).digest()
