"""Grammars are compiled by this program, each in a process of its own that may run out of time or
memory, or crash.

In, on stdin, each with its length before it (u32, little-endian): one `Setup`, then `Trial`s. Out,
on stdout: a `Verdict` for each, in the order of their ends. It ends with its stdin. Imports torch,
because xgrammar does, but neither SGLang nor the model.

What compiling costs depends on more than the size of the text: a character class with 10k members,
2,000 optional letters or schemas nested 900 deep take xgrammar 0.2.7 from 10 s to minutes on all
cores, and nothing can end its threads but the end of their process.
"""

import os
import random
import re
import resource
import signal
import time
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec
from xgrammar import (
    CompiledGrammar,
    GrammarCompiler,
    GrammarMatcher,
    StructuralTag,
    StructuralTagItem,
    TokenizerInfo,
    allocate_token_bitmask,
)

from protocol.generation import Grammar
from protocol.process.frames import LENGTH, framed
from workers.sglang.grammars.messages import Setup, Trial, Verdict
from workers.sglang.translation import GRAMMAR_TOO_SLOW

WALL_S_MAX: Final = 20
"""A trial may take this many seconds by the clock, in case that it waits for its turn on a busy
host.
"""

MEMORY_BYTES_MAX: Final = 2 * 1024 * 1024 * 1024
"""A trial may take this many bytes more than the process had before it began. It is a hundred times
what a large grammar takes.
"""

COMPILED_BYTES_MAX: Final = 200 * 1024 * 1024
"""A compiled grammar, which SGLang keeps, may have at most this many bytes."""

WALK_CPU_S: Final = 0.05
"""The first tokens together may take this many seconds, beside their own time: pages of memory are
copied for this process then.
"""

STEP_CPU_S: Final = 0.003
"""One token may take this many seconds: taking it and finding those that may come next is done
between two steps of the engine, which all of its requests wait for. It is less than a millisecond
as a rule; 5,000 optional properties take 0.2 s, 8,000 values of an enum 0.02. The scheduler holds
to it too.
"""

_STDOUT: Final = 1
_STDERR: Final = 2

STEPS: Final = 24
"""A trial walks this many tokens: enough to come from the first brackets into the values."""

THREADS_MAX: Final = 8
"""The compiler gets at most this many threads, as many as SGLang gives it."""

REASON_CHARS_MAX: Final = 600
"""A reason has at most this many characters, since a verdict must fit into one write to a pipe (4
KiB).
"""

_REFUSALS: Final = (
    RuntimeError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    AssertionError,
    MemoryError,
)
"""The compiler raises one of these to say that the text is no grammar."""

_NOT_FOR_CLIENTS: Final = re.compile(
    r"\[[\d:]+\] \S+:\d+: |Check failed: \(.*?\) is false: | The JSON string is:.*", re.DOTALL
)
"""Clients are not told these: lines of the compiler's source, and the text itself again."""


def _receive(stream: BinaryIO, kind: Any) -> Any:
    """Returns the next message; None at the end of the stream."""
    head = stream.read(LENGTH.size)
    return (
        msgspec.msgpack.decode(stream.read(*LENGTH.unpack(head)), type=kind)
        if len(head) == LENGTH.size
        else None
    )


def main() -> None:
    """Forks for each trial a process that watches over it, so that this one is always ready to read
    the next.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the worker has requests to finish then
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the watching processes
    asked = open(0, "rb", closefd=False)  # noqa: SIM115  # in a fork it is not sys.stdin
    setup = _receive(asked, Setup)
    if setup is None:
        return
    tokenizer = TokenizerInfo.deserialize_json(setup.tokenizer)
    # the compiler's warnings about what clients send
    os.dup2(os.open(os.devnull, os.O_WRONLY), _STDERR)
    while (trial := _receive(asked, Trial)) is not None:
        if os.fork() == 0:
            _watch(setup, tokenizer, trial)


def _watch(setup: Setup, tokenizer: TokenizerInfo, trial: Trial) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    reading, writing = os.pipe()
    before_s = _children_cpu_s()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _confine(trial.cpu_s)
        refused = _refusal(setup, tokenizer, trial.grammar)
        os.write(writing, msgspec.msgpack.encode(refused and refused[:REASON_CHARS_MAX]))
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as answer:
        told = answer.read()
    _, status = os.waitpid(child, 0)
    out_of_time = os.WIFSIGNALED(status) and os.WTERMSIG(status) in (
        signal.SIGPROF,
        signal.SIGALRM,
        signal.SIGKILL,
    )
    failed = (
        f"it takes more than {trial.cpu_s:g} s to compile"
        if out_of_time
        else "the compiler fails on it, or it needs too much memory"
    )
    refused = msgspec.msgpack.decode(told) if told else failed
    verdict = Verdict(
        trial.number, refused, round(_children_cpu_s() - before_s, 3), out_of_time and not told
    )
    os.write(_STDOUT, framed(verdict))
    os._exit(0)


def _confine(cpu_s: float) -> None:
    signal.alarm(WALL_S_MAX)
    # of all threads; the limit of the kernel's own is in whole seconds
    signal.setitimer(signal.ITIMER_PROF, cpu_s)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + MEMORY_BYTES_MAX,) * 2)


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _refusal(setup: Setup, tokenizer: TokenizerInfo, grammar: Grammar) -> str | None:
    """Returns why a grammar is refused, or None: compiles it and generates some tokens by it, as
    the engine would.
    """
    try:
        compiled = _compiled(setup, tokenizer, grammar)
    except _REFUSALS as error:
        if isinstance(error, MemoryError) or "bad_alloc" in str(error):
            return "it needs too much memory to compile"
        told = isinstance(error, RuntimeError | ValueError)
        return (
            " ".join(_NOT_FOR_CLIENTS.sub("", str(error)).split()).rstrip(".")
            if told
            else f"it is malformed ({type(error).__name__}: {error})"
        )
    if compiled.memory_size_bytes > COMPILED_BYTES_MAX:
        return f"it takes more than {COMPILED_BYTES_MAX >> 20} MiB when compiled"
    return _walk(GrammarMatcher(compiled), setup.vocab_size)


def _compiled(setup: Setup, tokenizer: TokenizerInfo, grammar: Grammar) -> CompiledGrammar:
    """Compiles a grammar as SGLang's XGrammarGrammarBackend does."""
    compiler = GrammarCompiler(
        tokenizer, max_threads=min(THREADS_MAX, os.cpu_count() or 1), cache_enabled=False
    )
    text = grammar.text
    if grammar.kind == "json_schema":
        return compiler.compile_json_schema(
            text, any_whitespace=setup.any_whitespace, max_whitespace_cnt=setup.max_whitespace_cnt
        )
    if grammar.kind == "regex":
        return compiler.compile_regex(text)
    if grammar.kind == "ebnf":
        return compiler.compile_grammar(text)
    tag = msgspec.json.decode(text)
    if tag.get("structures") is None:
        return compiler.compile_structural_tag(text)
    items = [
        StructuralTagItem(
            begin=one["begin"],
            schema=msgspec.json.encode(one.get("schema") or {}).decode(),
            end=one["end"],
        )
        for one in tag["structures"]
    ]
    return compiler.compile_structural_tag(
        StructuralTag.from_legacy_structural_tag(items, tag["triggers"])
    )


def _walk(matcher: GrammarMatcher, vocab_size: int) -> str | None:
    mask = allocate_token_bitmask(1, vocab_size)
    dice = random.Random(0)  # noqa: S311
    begun_s = time.thread_time()
    for step in range(STEPS):
        if matcher.is_terminated():
            return None
        matcher.fill_next_token_bitmask(mask)
        words = [(place, word & 0xFFFFFFFF) for place, word in enumerate(mask[0].tolist()) if word]
        if not words:  # further on it may be the dice that led here
            return "nothing can be generated by it" if step == 0 else None
        place, word = dice.choice(words)
        matcher.accept_token(
            place * 32 + dice.choice([bit for bit in range(32) if word >> bit & 1])
        )
        if time.thread_time() - begun_s > WALK_CPU_S + (step + 1) * STEP_CPU_S:
            return GRAMMAR_TOO_SLOW
    return None


if __name__ == "__main__":
    main()
