"""SGLang's arguments are read by its own parser, with defaults that suit kvmesh where the user gave
none.
"""

import argparse
import difflib
import logging
import os
from collections.abc import Callable, Sequence
from typing import Any, Final, NoReturn

from protocol.process.start_error import StartError
from workers.demo_model import DEMO_REASONING_PARSER, DEMO_TOOL_CALL_PARSER, demo_model_dir
from workers.kv_events_config import with_events
from workers.process.failure_note import one_line
from workers.sglang.bootstrap import set_bootstrap
from workers.sglang.cpu import activate_if_cpu_host
from workers.sglang.pooling import is_encoder, pooling_of
from workers.sglang.text_diffusion import prepare_diffusion

log = logging.getLogger(__name__)

PAGE_SIZE_TOKENS: Final = 16
"""A page of the KV cache has this many tokens: SGLang's default of 1 on most backends would make a
KV event and a hash of every token.
"""

CPU_KV_TOKENS: Final = 16_384
"""An engine on a CPU caches this many tokens: without a bound SGLang sizes its cache from the
memory of the whole host, for each of several workers on it. 16k tokens are 1.9 GB for a Qwen3-0.6B
in bfloat16 and 16 requests of 1k tokens at once, more than a CPU can feed.
"""

ENCODER_BATCH_TOKENS: Final = 8_192
"""One step of an encoder takes at most this many tokens.

SGLang sets 1.5 MB of memory a token aside for it: with its own 16,384 more than small hosts and
GPUs have.
"""

_PARSER_KINDS: Final = {
    "tool_call_parser": "parser of tool calls",
    "reasoning_parser": "parser of thinking",
}
_ALIKE: Final = 0.5
"""A name may be what was meant if at least this share of its characters is in common."""

_POLICIES_WITH_PRIORITY: Final = ("fcfs", "lof")
"""SGLang allows priorities under these policies (srt/arg_groups/validation_hook.py)."""

_MODEL_FLAGS: Final = ("--model-path", "--model")

_ALWAYS: Final[dict[str, Any]] = {
    "incremental_streaming_output": True,  # deltas: cumulative lists would grow with each step
    "skip_server_warmup": True,  # it speaks HTTP to a server that is not there
    "page_size": PAGE_SIZE_TOKENS,
    # SGLang yields to the loop after so many requests of a step; a step is one delivery here
    "batch_notify_size": 1 << 20,
    # a scheduler that gets pictures and what others made of pictures in one batch dies otherwise
    "enable_adaptive_dispatch_to_encoder": True,
}
_ON_CPU: Final[dict[str, Any]] = {
    "device": "cpu",
    "attention_backend": "torch_native",
    "sampling_backend": "pytorch",
    "lora_backend": "torch_native",
    "disable_cuda_graph": True,
    "disable_overlap_schedule": True,
    "max_total_tokens": CPU_KV_TOKENS,
    "sleep_on_idle": True,  # an idle scheduler otherwise burns a whole core
}


def parse_server_args(
    argv: Sequence[str],
    *,
    cpu: bool,
    kv_events: bool,
    adapt: Callable[[argparse.Namespace], None] | None = None,
) -> Any:
    """Returns SGLang's ServerArgs from its command line, `--config file.yaml` included.

    Flags win over the file, the file over defaults.

    Import SGLang first through `workers.sglang.cpu.activate_if_cpu_host`.

    Args:
        adapt: changes what was read before SGLang sees it, or raises StartError.
    Raises:
        StartError: an argument or the file is wrong.
    """
    from sglang.srt.server_args import ServerArgs  # noqa: PLC0415  # takes seconds, and only after the stand-ins
    from sglang.srt.utils.server_args_config_parser import ConfigArgumentMerger  # noqa: PLC0415

    from workers.sglang.cpu.number_format import choose_dtype  # noqa: PLC0415  # imports torch

    parser = _sglang_parser(cpu=cpu)
    arguments = list(argv)
    try:
        merged = [
            _dashed(item, parser)
            for item in ConfigArgumentMerger(parser).merge_config_with_args(arguments)
        ]
        if not any(item.partition("=")[0] in _MODEL_FLAGS for item in merged):
            merged += ["--model-path", str(demo_model_dir())]
            parser.set_defaults(
                tool_call_parser=DEMO_TOOL_CALL_PARSER, reasoning_parser=DEMO_REASONING_PARSER
            )
        namespace = parser.parse_args(merged)
        _require_known_parsers(namespace)
        # in a scheduler it would be too late to say what is wrong
        pooling_of(namespace.model_path, namespace.revision)
        if is_encoder(namespace.model_path, namespace.revision):
            namespace = _of_encoder(parser, merged, cpu=cpu)
        # SGLang's own entry point notes this beside the parsed values
        # (server_args.prepare_server_args).
        flag = "--radix-eviction-policy"
        namespace._radix_eviction_policy_explicitly_set = any(
            item == flag or item.startswith(flag + "=") for item in merged
        )
        _refuse_other_tokenizing(namespace)
        _bind_threads(namespace, cpu=cpu)
        told = {item.partition("=")[0] for item in merged}
        if cpu:
            choose_dtype(namespace, told=told)
        set_bootstrap(namespace, told=told)
        if (
            namespace.constrained_json_max_whitespace_cnt is None
            and namespace.constrained_json_whitespace_pattern is None
        ):
            # small models fill all of their tokens with it
            namespace.constrained_json_disable_any_whitespace = True
        _order_by_priority(namespace)
        prepare_diffusion(namespace)
        namespace.kv_events_config = _kv_events_config(namespace) if kv_events else None
        if adapt is not None:
            adapt(namespace)
        return ServerArgs.from_cli_args(namespace)
    except StartError:
        raise
    except Exception as error:  # whatever SGLang's checks raise is the user's argument
        raise StartError(one_line(error)) from error


def sglang_help(argv: Sequence[str] = ()) -> str:
    """Returns SGLang's --help text, to be shown after the worker's own.

    Takes seconds: it imports SGLang.
    """
    return _sglang_parser(cpu=activate_if_cpu_host(argv)).format_help()


class _Parser(argparse.ArgumentParser):
    """A _Parser raises where argparse would print SGLang's several hundred lines of usage and
    exit.
    """

    def error(self, message: str) -> NoReturn:
        raise StartError(message)


def _sglang_parser(*, cpu: bool) -> argparse.ArgumentParser:
    from sglang.srt.server_args import ServerArgs  # noqa: PLC0415

    parser = _Parser(
        prog="python -m workers",
        add_help=False,
        usage="SGLang's arguments, each under its own name",
    )
    ServerArgs.add_cli_args(parser)
    known = {action.dest for action in parser._actions}
    defaults = {**_ALWAYS, **(_ON_CPU if cpu else {})}
    missing = sorted(defaults.keys() - known)
    if missing:
        raise StartError(
            f"this SGLang does not know {', '.join(missing)}; kvmesh was written for 0.5.23"
        )
    parser.set_defaults(**defaults)
    for action in parser._actions:
        if action.dest in _PARSER_KINDS:
            action.choices = None  # argparse would list them in an order that helps nobody
    return parser


def _refuse_other_tokenizing(namespace: argparse.Namespace) -> None:
    """Sets right, or raises StartError for, what changes where tokens are made."""
    if namespace.skip_tokenizer_init:
        # As scripts for other frontends have it, whose engines get token ids too.
        log.info(
            "--skip-tokenizer-init has no effect: without its tokenizer SGLang loses "
            "stop tokens, min_tokens and grammars"
        )
        namespace.skip_tokenizer_init = False
    if namespace.detokenizer_worker_num > 1:
        log.info("--detokenizer-worker-num has no effect: frontends make text of tokens")
    if namespace.tokenizer_worker_num > 1:
        raise StartError(
            "--tokenizer-worker-num is for SGLang's own HTTP server: here frontends "
            "tokenize, each in its own process"
        )


def _require_known_parsers(namespace: argparse.Namespace) -> None:
    """Says which parsers there are where one is asked for that SGLang has not, the likeliest first;
    raises StartError then.
    """
    from sglang.srt.function_call.parser_names import TOOL_CALL_PARSER_NAMES  # noqa: PLC0415
    from sglang.srt.parser.reasoning_parser_names import REASONING_PARSER_NAMES  # noqa: PLC0415

    for dest, names in (
        ("tool_call_parser", TOOL_CALL_PARSER_NAMES),
        ("reasoning_parser", REASONING_PARSER_NAMES),
    ):
        name = getattr(namespace, dest)
        if name is None or name in ("auto", *names):
            continue
        near = difflib.get_close_matches(name, names, n=len(names), cutoff=_ALIKE)
        known = ", ".join(dict.fromkeys([*near, "auto", *sorted(names)]))
        raise StartError(f"SGLang has no {_PARSER_KINDS[dest]} {name!r}; it has: {known}")


def _order_by_priority(namespace: argparse.Namespace) -> None:
    """Has SGLang's queue keep the order of priorities, since all that it can take is sent to it at
    once.

    What runs already is not taken back for what is more urgent: that computes the same prompts
    twice. Who asks for SGLang's priorities in another way, or for a policy that does not go with
    them, gets just that.
    """
    if (
        namespace.enable_priority_scheduling
        or namespace.schedule_policy not in _POLICIES_WITH_PRIORITY
    ):
        return
    if namespace.abort_on_priority_when_disabled or namespace.schedule_low_priority_values_first:
        return
    namespace.enable_priority_scheduling = namespace.disable_priority_preemption = True
    if namespace.default_priority_value is None:
        namespace.default_priority_value = 0


def _of_encoder(
    parser: argparse.ArgumentParser, arguments: Sequence[str], *, cpu: bool
) -> argparse.Namespace:
    """Returns the arguments for a model whose texts must be computed whole, whatever they say of
    that.
    """
    parser.set_defaults(
        max_prefill_tokens=ENCODER_BATCH_TOKENS, **({"mem_fraction_static": 0.5} if cpu else {})
    )
    namespace = parser.parse_args(list(arguments))
    namespace.is_embedding, namespace.disable_radix_cache, namespace.chunked_prefill_size = (
        True,
        True,
        -1,
    )
    return namespace


def _dashed(item: str, parser: argparse.ArgumentParser) -> str:
    """Returns `--dp_size` of a YAML key `dp_size` as `--dp-size`: SGLang's merger reads such keys,
    and its parser then does not know them.
    """
    known = parser._option_string_actions
    return dashed if item not in known and (dashed := item.replace("_", "-")) in known else item


def _kv_events_config(namespace: argparse.Namespace) -> str | None:
    keeps_nothing = (
        namespace.disaggregation_mode == "decode"
        and not namespace.disaggregation_decode_enable_radix_cache
    )
    if namespace.disable_radix_cache or namespace.is_embedding or keeps_nothing:
        # nothing is cached between requests, so there is nothing to tell
        return namespace.kv_events_config
    return with_events(namespace.kv_events_config)


def _bind_threads(namespace: argparse.Namespace, *, cpu: bool) -> None:
    """Shares the cores among the ranks of this worker, and leaves some to its other processes and
    to other workers.

    By default each rank starts as many spinning OpenMP threads as the host has cores, and SGLang
    refuses more ranks than NUMA nodes. What the user set in the environment stays.
    """
    if not cpu:
        return
    ranks = max(1, namespace.tp_size * namespace.pp_size * namespace.dp_size)
    cores = sorted(os.sched_getaffinity(0))
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, len(cores) // (2 * ranks))))
    if ranks > 1:
        share = max(1, len(cores) // ranks)
        starts = [rank * share % len(cores) for rank in range(ranks)]
        groups = [",".join(map(str, cores[start : start + share])) for start in starts]
        os.environ.setdefault("SGLANG_CPU_OMP_THREADS_BIND", "|".join(groups))
