"""Keeps grammars from the engine that would end it or hold it up: each is tried in a process of its own before the engine sees it."""

import asyncio
import itertools
import logging
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections import OrderedDict
from contextlib import suppress
from typing import Any, Final

import msgspec

from protocol.errors import EngineFault, InvalidRequest, Overloaded
from protocol.limits import GRAMMAR_BYTES_MAX
from protocol.requests import Grammar
from workers.sglang_grammars.messages import LENGTH, Setup, Trial, Verdict, framed

log = logging.getLogger(__name__)

REMEMBERED_MAX: Final = 4_096
"""Verdicts, some hundred bytes each beside their grammar's hash; the one not asked for the longest time is forgotten first."""

AT_ONCE_MAX: Final = 2
"""Trials that run: each can take a core for seconds."""

TRIALS_MAX: Final = 64
"""Trials that run or wait. Behind so many slow ones the last would wait for minutes."""

START_S_MAX: Final = 120.0
"""Until the first verdict. The process imports torch, for seconds on an idle host."""

VERDICT_S_MAX: Final = 60.0
"""A trial ends itself long before."""

_POLL_S: Final = 0.001
_POLLS_MAX: Final = 30_000

_Key = tuple[str, str]

_FIRST: Final = Grammar("json_schema", '{"type":"object"}')
"""What response_format json_object comes to."""


def set_grammar_defaults() -> None:
    """Say how SGLang's scheduler waits for a grammar and bounds thinking, unless the user said it.

    Each of its steps waits a poll for grammars that are not compiled yet, and with it all that run: by default 5 ms, which doubles a step.
    What passed its trial is ready long before the last poll. And without any bound on thinking it keeps to no request's either, in most
    formats (--enable-strict-thinking).
    """
    os.environ.setdefault("SGLANG_GRAMMAR_POLL_INTERVAL", str(_POLL_S))
    os.environ.setdefault("SGLANG_GRAMMAR_MAX_POLL_ITERATIONS", str(_POLLS_MAX))
    os.environ.setdefault("SGLANG_MAX_THINK_TOKENS", str(2**31 - 1))


class GrammarGuard:
    """Tries grammars for one engine, in a process that `warm_up` starts; without it the first grammar does and waits for it, for seconds.

    Args:
        manager: SGLang's TokenizerManager, started.
    """

    def __init__(self, manager: Any) -> None:
        self._manager = manager
        self._verdicts: OrderedDict[_Key, str | None] = OrderedDict()
        self._trials: dict[_Key, asyncio.Task[str | None]] = {}
        self._room = asyncio.Semaphore(AT_ONCE_MAX)
        self._numbers = itertools.count()
        self._process: Process | None = None
        self._starting = asyncio.Lock()
        self._answers: dict[int, asyncio.Future[Verdict]] = {}
        self._reader: asyncio.Task[None] | None = None

    def warm_up(self) -> None:
        """Have the process ready by the time that somebody has a grammar."""
        if self._is_xgrammar:
            self._begin((_FIRST.kind, _FIRST.text), _FIRST)

    @property
    def _is_xgrammar(self) -> bool:
        return self._manager.server_args.grammar_backend in (None, "xgrammar")  # None: by default it is xgrammar

    async def check(self, grammar: Grammar) -> None:
        """Return once the grammar may go to the engine.

        Raises:
            InvalidRequest: it is no grammar, or takes too much time or memory; names the client's field.
            Overloaded: too many others are being tried.
            EngineFault: grammars cannot be tried.
        """
        if not self._is_xgrammar:
            return
        field = grammar.field or "The grammar"
        if len(grammar.text) > GRAMMAR_BYTES_MAX:  # one of a chat's tools, since a client's own is measured before
            raise InvalidRequest(f"{field} makes a grammar of more than {GRAMMAR_BYTES_MAX} characters.", param=grammar.field or None)
        key = (grammar.kind, grammar.text)
        if key in self._verdicts:
            self._verdicts.move_to_end(key)
            refused = self._verdicts[key]
        else:
            if key not in self._trials:
                self._begin(key, grammar)
            refused = await asyncio.shield(self._trials[key])  # others may wait for it when this request is aborted
        if refused is not None:
            raise InvalidRequest(f"{field} cannot be used: {refused}.", param=grammar.field or None)

    def _begin(self, key: _Key, grammar: Grammar) -> None:
        if len(self._trials) >= TRIALS_MAX:
            raise Overloaded("Too many new schemas and grammars are being compiled. Please retry shortly.")
        task = asyncio.get_running_loop().create_task(self._try(key, grammar))
        self._trials[key] = task
        task.add_done_callback(lambda task: self._end(key, task))

    def _end(self, key: _Key, task: asyncio.Task[str | None]) -> None:
        del self._trials[key]
        if not task.cancelled():
            task.exception()  # told to whoever waits, who may be gone, and logged

    async def _try(self, key: _Key, grammar: Grammar) -> str | None:
        async with self._room:
            verdict = await self._answer(grammar)
        if verdict.refused is not None or verdict.cpu_s > 1:
            log.info("a %s of %d characters took %.1f s: %s", grammar.kind, len(grammar.text), verdict.cpu_s, verdict.refused or "fine")
        self._verdicts[key] = verdict.refused
        while len(self._verdicts) > REMEMBERED_MAX:
            self._verdicts.popitem(last=False)
        return verdict.refused

    async def _answer(self, grammar: Grammar) -> Verdict:
        """Ask the process; a second time if it has ended meanwhile, which is not the grammar's doing."""
        try:
            return await self._ask(grammar)
        except (EOFError, OSError):  # a time-out is an OSError too
            self._kill()
        try:
            return await self._ask(grammar)
        except (EOFError, OSError) as error:
            log.error("grammars cannot be tried: %r", error)
            self._kill()
            raise EngineFault("The schema or grammar could not be checked.") from error

    async def _ask(self, grammar: Grammar) -> Verdict:
        process, begins = await self._running()
        assert process.stdin is not None
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        try:
            process.stdin.write(framed(Trial(number, grammar)))
            return await asyncio.wait_for(answer, START_S_MAX if begins else VERDICT_S_MAX)
        finally:
            del self._answers[number]

    async def _running(self) -> tuple[Process, bool]:
        """The process that tries grammars, and whether it has only begun."""
        async with self._starting:
            if self._process is not None and self._process.returncode is None:
                return self._process, False
            setup = await asyncio.to_thread(_setup_of, self._manager)
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "workers.sglang_grammars.trial", stdin=PIPE, stdout=PIPE, env=os.environ | {"PYTHONPATH": _path()}
            )
            assert process.stdin is not None
            process.stdin.write(framed(setup))
            self._process = process
            self._reader = asyncio.get_running_loop().create_task(self._read(process))
            return process, True

    async def _read(self, process: Process) -> None:
        assert process.stdout is not None
        with suppress(asyncio.IncompleteReadError):
            while True:
                (length,) = LENGTH.unpack(await process.stdout.readexactly(LENGTH.size))
                verdict = msgspec.msgpack.decode(await process.stdout.readexactly(length), type=Verdict)
                answer = self._answers.get(verdict.number)
                if answer is not None and not answer.done():
                    answer.set_result(verdict)
        await process.wait()
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(EOFError("the process that tries grammars has ended"))

    def close(self) -> None:
        """End the process, and what waits for it."""
        for task in self._trials.values():
            task.cancel()
        self._kill()

    def _kill(self) -> None:
        """The next grammar starts another one."""
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.kill()
        self._process = None


def _path() -> str:
    """Where this process finds its modules."""
    return os.pathsep.join(filter(None, sys.path)) or os.curdir


def _setup_of(manager: Any) -> Setup:
    """As SGLang's create_grammar_backend and XGrammarGrammarBackend set themselves up."""
    tokenizer, model, server_args = manager.tokenizer, manager.model_config, manager.server_args
    if hasattr(tokenizer, "init_xgrammar"):
        info, _ = tokenizer.init_xgrammar()
    else:
        from xgrammar import TokenizerInfo  # noqa: PLC0415  # with the first grammar

        eos = list(model.hf_eos_token_id) if model.hf_eos_token_id else None
        info = TokenizerInfo.from_huggingface(tokenizer, vocab_size=model.vocab_size, stop_token_ids=eos)
    return Setup(
        tokenizer=info.serialize_json(),
        vocab_size=model.vocab_size,
        any_whitespace=not server_args.constrained_json_disable_any_whitespace,
        max_whitespace_cnt=server_args.constrained_json_max_whitespace_cnt,
    )
