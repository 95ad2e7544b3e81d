"""Faults happen on demand, by setting, at run time, or by request: what engines do to those who
depend on them.

    crash-after-requests=N       the process kills itself when request N+1 arrives
    crash-after-tokens=N         … after the step that generated token N
    engine-death-after-tokens=N  … the engine is dead after that step, the process lives on, as one
    whose scheduler was killed
    hang-after-tokens=N          the engine stops stepping after the step that generated token N;
    the event loop lives on
    hang-s=S                     hangs that begin from here on end after S seconds
    hang-loop-after-requests=N   the event loop itself blocks for ever when request N+1 arrives
    error-every=N                every Nth request fails with engine_fault
    slow=FACTOR                  steps take FACTOR times as long (at --sim-speedup 0: FACTOR times
    the timing model)
    refuse                       every request fails as overloaded
    start-error                  the engine does not start
    transfer-error-every=N       every Nth cache computed for another engine is lost on its way
    transfer-stall               no such cache arrives, nor is anything said of it
    kv-drop=N                    every Nth batch of KV events is not sent, though it can be replayed
    kv-duplicate=N               every Nth batch is sent twice
    kv-swap=N                    every Nth batch is sent after the next one

For a generator of pictures or videos a step counts as a token, and engine-death is that of its
process alone, which is started anew and takes --sim-startup-s for it.

Counts begin when the fault is armed, so N = 0 armed at run time means now (for tokens) or at the
next request; batches of KV events have numbers, and every Nth is one whose number N divides. With
--sim-request-faults a request asks for one through `seed` (SEED_FAULTS): the one field that reaches
an engine unchanged through every API and that nothing else here depends on; or through a picture
(PICTURE_FAULT). Off by default, since a
client could kill workers with it.
"""

import os
import signal
import time
from collections.abc import Callable, Iterable
from typing import Final, NoReturn

from protocol.media import PromptMedia
from protocol.process.start_error import StartError
from protocol.replies import Failed

SEED_FAULTS: Final = {
    770_001: "error",
    770_002: "crash",
    770_003: "mute",
    770_004: "hang-loop",
    770_005: "engine-death",
}
"""A seed asks for what befalls the request: it fails, it kills the worker, it is never answered
unless aborted, it blocks the loop, it kills the engine but not the worker.
"""

PICTURE_FAULT: Final = b"kvmesh-sim-crash"
"""A picture that has this among its bytes kills whoever encodes it, on the same condition."""

_TOKENS: Final = ("crash-after-tokens", "engine-death-after-tokens", "hang-after-tokens")
_EVERY: Final = ("error-every", "transfer-error-every")
_COUNTED: Final = (*_TOKENS, "crash-after-requests", "hang-loop-after-requests", *_EVERY)
_KV: Final = ("kv-drop", "kv-duplicate", "kv-swap")
_PLAIN: Final = ("refuse", "start-error", "transfer-stall")
KINDS: Final = (*_COUNTED, "hang-s", "slow", *_PLAIN, *_KV)


class Faults:
    """Faults holds the armed faults and their counters.

    Args:
        crash: ends the process; block: never returns. Given by tests.
    Attributes:
        slow: factor on the duration of steps, or None.
        hung: the engine takes no step any more.
        hang_s: how long hangs last, or None.
        on_hang, on_engine_death: called when it begins and when it happens; set by the engine.
    """

    def __init__(
        self, *, crash: Callable[[], None] | None = None, block: Callable[[], None] | None = None
    ) -> None:
        self._crash = crash or _kill_this_process
        self._block = block or _block_for_ever
        self._armed: dict[str, int] = {}
        self._seen: dict[str, int] = {}
        self.slow: float | None = None
        self.hung = False
        self.hang_s: float | None = None
        self.on_hang: Callable[[], None] = _nothing
        self.on_engine_death: Callable[[], None] = _nothing

    def arm(self, spec: str) -> None:
        """Arms "KIND" or "KIND=VALUE"; "clear" disarms everything and ends a hang.

        Raises:
            ValueError: no such fault, or no such value, in one line.
        """
        kind, _, value = spec.partition("=")
        if spec == "clear":
            self._armed.clear()
            self.slow, self.hung, self.hang_s = None, False, None
        elif kind == "slow":
            self.slow = _positive(spec, value)
        elif kind == "hang-s":
            self.hang_s = _positive(spec, value)
        elif kind in _PLAIN and not value:
            self._armed[kind] = 0
        elif kind in _KV and value.isdecimal() and int(value):
            self._armed[kind] = int(value)
        elif kind in _COUNTED and value.isdecimal() and (int(value) or kind not in _EVERY):
            self._armed[kind], self._seen[kind] = int(value), 0
            self._after_tokens()
        else:
            raise ValueError(
                f"no fault {spec!r}: one of {', '.join(KINDS)}, or clear; those that count "
                "need a number"
            )

    def armed(self, kind: str) -> bool:
        """Tells whether a fault without a count is armed."""
        return kind in self._armed

    def on_request(self) -> Failed | None:
        """Plays what is due as a request arrives; a Failed is its answer."""
        for kind in ("crash-after-requests", "hang-loop-after-requests", "error-every"):
            if kind in self._armed:
                self._seen[kind] += 1
        if self._past("crash-after-requests"):
            self._crash()
        if self._past("hang-loop-after-requests"):
            self._block()
        if "refuse" in self._armed:
            return Failed("overloaded", "The simulated engine refuses requests.")
        every = self._armed.get("error-every")
        if every and self._seen["error-every"] % every == 0:
            return simulated_error()
        return None

    def on_handover(self) -> str | None:
        """Returns what befalls a cache that is to be handed over: "transfer-error-every",
        "transfer-stall" or nothing.
        """
        every = self._armed.get("transfer-error-every")
        if every:
            self._seen["transfer-error-every"] += 1
            if self._seen["transfer-error-every"] % every == 0:
                return "transfer-error-every"
        return "transfer-stall" if "transfer-stall" in self._armed else None

    def on_kv_batch(self, number: int) -> str | None:
        """Returns what befalls the batch of KV events with this number: "kv-drop", "kv-duplicate",
        "kv-swap" or nothing.
        """
        return (
            next(
                (kind for kind in _KV if kind in self._armed and number % self._armed[kind] == 0),
                None,
            )
            if self._armed
            else None
        )

    def on_seed(self, seed: int) -> str | None:
        """Plays the fault that a request asked for: "error" and "mute" are for the caller to carry
        out.
        """
        fault = SEED_FAULTS.get(seed)
        if fault == "crash":
            self._crash()
        elif fault == "hang-loop":
            self._block()
        elif fault == "engine-death":
            self._die()
        return fault

    def on_pictures(self, media: Iterable[PromptMedia]) -> None:
        """Plays the fault that one of the pictures which are to be encoded asks for."""
        if any(PICTURE_FAULT in each.data for each in media):
            self._crash()

    def on_tokens(self, count: int) -> None:
        """Counts the tokens that a step generated, and plays what is due."""
        if self._armed:
            for kind in _TOKENS:
                if kind in self._armed:
                    self._seen[kind] += count
            self._after_tokens()

    def _after_tokens(self) -> None:
        if self._reached("hang-after-tokens"):
            if not self.hung:
                self.hung = True
                self.on_hang()
            if self.hang_s is not None:
                # once; it would hang again with the next token
                del self._armed["hang-after-tokens"]
        if self._reached("engine-death-after-tokens"):
            del self._armed["engine-death-after-tokens"]
            self._die()
        if self._reached("crash-after-tokens"):
            self._crash()

    def _die(self) -> None:
        self.hung = True
        self.on_engine_death()

    def _reached(self, kind: str) -> bool:
        return kind in self._armed and self._seen[kind] >= self._armed[kind]

    def _past(self, kind: str) -> bool:
        return kind in self._armed and self._seen[kind] > self._armed[kind]


def read_faults(specs: tuple[str, ...], faults: Faults) -> Faults:
    """Arms what the settings ask for.

    Raises:
        StartError: one of them is no fault.
    """
    for spec in specs:
        try:
            faults.arm(spec)
        except ValueError as error:
            raise StartError(f"--sim-fault: {error}") from None
    return faults


def simulated_error() -> Failed:
    """Returns how an engine of SGLang's kind fails one request."""
    return Failed("engine_fault", "The simulated engine failed this request.")


def _positive(spec: str, value: str) -> float:
    try:
        factor = float(value)
    except ValueError:
        factor = 0.0
    if not 0.0 < factor < float("inf"):
        raise ValueError(f"fault {spec!r} needs a positive factor")
    return factor


def _nothing() -> None: ...


def _kill_this_process() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _block_for_ever() -> NoReturn:
    while True:
        time.sleep(3600)
