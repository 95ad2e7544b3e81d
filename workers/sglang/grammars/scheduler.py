"""SGLang's schedulers are changed here in what they do with grammars.

Runs in their processes; imports SGLang.

SGLang 0.5.23 keeps every grammar that it ever compiled, up to 140 MB each; here the cache has a
bound. A grammar may lead to where no token is allowed (a schema that refers to nothing but itself);
SGLang then samples from logits of minus infinity, of which a sampler on a GPU need not make a token
of the vocabulary. And a request that lost its worker goes on with its output as a part of its
prompt; its grammar must go on too, instead of beginning again. And a grammar that takes long to say
what may come next holds up every request of the engine.
"""

from collections import OrderedDict
from functools import partial
from time import thread_time
from typing import Any, Final

import torch
from sglang.srt.constrained import xgrammar_backend
from sglang.srt.constrained.base_grammar_backend import BaseGrammarBackend, InvalidGrammarObject
from sglang.srt.constrained.grammar_manager import GrammarManager
from sglang.srt.constrained.xgrammar_backend import XGrammarGrammar, XGrammarGrammarBackend

from workers.sglang.translation import GRAMMAR_DEAD_END, GRAMMAR_TOO_SLOW, REPLAYED_TOKENS

CACHED_BYTES_MAX: Final = 256 * 1024 * 1024
"""SGLang's cache and xgrammar's are bounded to this many bytes each.

A usual schema takes some 100 kB with a vocabulary of 150k.
"""

STEP_COST_S: Final = 0.003
"""A grammar may take this many seconds of a step on average.

It is less than a millisecond as a rule; all requests wait for it.
"""

COST_S: Final = 0.3
"""A grammar may take this many seconds beside its share of steps, until it is told that it takes
too much.
"""

CACHED_MAX: Final = 4_096
"""The cache keeps at most this many grammars: those whose size is not known, as that of a grammar
that could not be compiled, count by their number.
"""


class GrammarCache(OrderedDict[Any, Any]):
    """A GrammarCache takes the place of `BaseGrammarBackend.cache`; the grammar not used for the
    longest time is forgotten first.
    """

    def __init__(self) -> None:
        super().__init__()
        self._bytes = 0

    def get(self, key: Any, default: Any = None) -> Any:
        if key not in self:
            return default
        self.move_to_end(key)
        return self[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        if key in self:
            self._bytes -= _size_bytes(self[key])
        super().__setitem__(key, value)
        self.move_to_end(key)
        self._bytes += _size_bytes(value)
        while len(self) > 1 and (self._bytes > CACHED_BYTES_MAX or len(self) > CACHED_MAX):
            self._bytes -= _size_bytes(self.popitem(last=False)[1])

    def clear(self) -> None:
        super().clear()
        self._bytes = 0


def _size_bytes(grammar: Any) -> int:
    # within what waits for the end of the thinking
    grammar = getattr(grammar, "grammar", None) or grammar
    compiled = getattr(grammar, "ctx", None)
    return compiled.memory_size_bytes if compiled is not None else 0


def change_grammars() -> None:
    """Puts the changes of SGLang's grammars in place, in this process."""
    _bound_caches()
    _end_dead_ends()
    _go_on_behind_replayed_output()
    _filter_thinking_on_cpus()


def _bound_caches() -> None:
    init = BaseGrammarBackend.__init__

    def bounded(self: Any) -> None:
        init(self)
        self.cache = GrammarCache()

    BaseGrammarBackend.__init__ = bounded
    xgrammar_backend.GrammarCompiler = partial(
        xgrammar_backend.GrammarCompiler, cache_limit_bytes=CACHED_BYTES_MAX
    )  # pyright: ignore[reportAttributeAccessIssue]


def _end_dead_ends() -> None:
    """Has anything come, and refuses it, where nothing may come next or finding it out has taken
    too long.
    """
    fill, accept, copy = (
        XGrammarGrammar.fill_vocab_mask,
        XGrammarGrammar.accept_token,
        XGrammarGrammar.copy,
    )

    def filled(self: Any, vocab_mask: torch.Tensor, idx: int) -> None:
        cost, begun_s = _cost_of(self), thread_time()
        row = vocab_mask[idx]
        self.ends = None
        if cost.is_too_much:
            self.ends = GRAMMAR_TOO_SLOW
        else:
            fill(self, vocab_mask, idx)
            if not row.any().item():
                self.ends = GRAMMAR_DEAD_END
        if self.ends:
            row.fill_(-1)
        cost.add(thread_time() - begun_s)

    def accepted(self: Any, token: int) -> None:
        if getattr(self, "ends", None):
            raise ValueError(self.ends)
        begun_s = thread_time()
        accept(self, token)
        _cost_of(self).spent_s += thread_time() - begun_s

    def copied(self: Any) -> Any:
        another = copy(self)
        another.cost = _cost_of(self)
        return another

    XGrammarGrammar.fill_vocab_mask, XGrammarGrammar.accept_token, XGrammarGrammar.copy = (
        filled,
        accepted,
        copied,
    )


class _Cost:
    """A _Cost is the CPU time that one grammar has taken of this scheduler, for all requests
    together.

    A trial sees its first tokens alone.
    """

    __slots__ = ("spent_s", "steps")

    def __init__(self) -> None:
        self.spent_s, self.steps = 0.0, 0

    @property
    def is_too_much(self) -> bool:
        return self.spent_s > COST_S + self.steps * STEP_COST_S

    def add(self, seconds: float) -> None:
        self.spent_s += seconds
        self.steps += 1


def _cost_of(grammar: Any) -> _Cost:
    cost = getattr(grammar, "cost", None)
    if cost is None:
        cost = grammar.cost = _Cost()
    return cost


def _go_on_behind_replayed_output() -> None:
    prepare = GrammarManager._apply_request_reasoning_config

    def prepared(self: Any, req: Any) -> None:
        prepare(self, req)
        replayed = (req.sampling_params.custom_params or {}).get(REPLAYED_TOKENS, 0)
        if not replayed or isinstance(req.grammar, InvalidGrammarObject):
            return
        try:
            for token in req.origin_input_ids[-replayed:]:
                req.grammar.accept_token(token)
        except ValueError:
            req.set_finish_with_abort(
                "The output so far does not conform to its grammar, so it cannot be resumed."
            )

    GrammarManager._apply_request_reasoning_config = prepared


def _filter_thinking_on_cpus() -> None:
    """Has the method that knows CPUs asked where thinking is bounded without a grammar behind it;
    the backend's own knows none.
    """
    XGrammarGrammarBackend.apply_vocab_mask = staticmethod(
        partial(XGrammarGrammar.apply_vocab_mask, None)
    )  # pyright: ignore[reportAttributeAccessIssue]
