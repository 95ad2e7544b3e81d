"""The worker's Hello needs to know what a started SGLang engine turned out to be, which is read
here.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import sglang
from msgspec.structs import replace

from kv_events.engine_stream import StreamAddress
from protocol.disaggregation import BootstrapServer
from protocol.membership import Capacity, ModelCard
from protocol.process.start_error import StartError
from workers.engine import EngineFacts, FollowerFacts
from workers.kv_events_config import read_config, stream_addresses
from workers.mesh.model_card import build_card
from workers.sglang.adapters import SglangAdapters
from workers.sglang.media import SglangImages, media_taken
from workers.sglang.metrics import sglang_metrics
from workers.sglang.model_files import model_dir_of, served_names, template_file
from workers.sglang.operating import SglangRoutes
from workers.sglang.pooling import CROSS_ENCODERS
from workers.sglang.prompts import SglangPrompts
from workers.sglang.requests.submissions import Submissions
from workers.sglang.text_diffusion import told_of_diffusion
from workers.sglang.vision_files import encoder_name, has_grids

_HICACHE_RATIO: Final = 2.0
"""A hierarchical cache has this much host memory per GPU memory, where SGLang was not told
(srt/mem_cache/kv_cache_builder.py).
"""

_SLOW_RATIO_MAX: Final = 16
"""Of a disk cache whose size nobody knows, as much is remembered as this many times the GPU's."""


async def read_facts(engine: Any, requests: Submissions, *, tokenizes: bool = False) -> EngineFacts:
    """Reads names, limits and files from the engine that has just started.

    Args:
        requests: those that will run on it.
        tokenizes: the worker is to make tokens of prompts.
    Raises:
        StartError: the model's files cannot be found or served.
    """
    manager = engine.tokenizer_manager
    config = manager.model_config
    states = await manager.get_internal_state()  # also the proof that every scheduler answers
    generates = bool(manager.is_generation)
    card, card_files, prompts = await read_card(
        manager, engine.template_manager, tokenizes=tokenizes
    )
    if not generates:
        pairs = not CROSS_ENCODERS.isdisjoint(config.hf_config.architectures or ())
        if pairs and tokenizes:
            raise StartError(
                "--use-sglang-tokenizer is not for cross-encoders: the frontend makes tokens "
                "of their pairs"
            )
        card = replace(
            card, embedding_dimensions=1 if pairs else int(config.hidden_size), cross_encoder=pairs
        )
    card = told_of_diffusion(card, manager.server_args)
    version = f"sglang {sglang.__version__} on {manager.config_value('device')}"
    streams = _kv_streams(manager, len(states))
    return EngineFacts(
        card=card,
        card_files=card_files,
        capacity=_capacity(engine, states),
        version=version,
        model_path=str(manager.config_value("model_path")),
        tokenizer_path=str(manager.config_value("tokenizer_path")),
        kv_streams=streams,
        generates=generates,
        disaggregation_mode=manager.config_value("disaggregation_mode"),
        bootstrap=_bootstrap(manager),
        prompts=prompts,
        images=SglangImages(manager.mm_processor)
        if card.media is not None and card.media.counts_images
        else None,
        adapters=SglangAdapters(manager) if manager.enable_lora else None,
        routes=SglangRoutes(engine, requests),
        metrics=partial(sglang_metrics, by_priority=_preempts(manager))
        if manager.enable_metrics
        else None,
    )


async def read_card(
    manager: Any, templates: Any, *, tokenizes: bool = False
) -> tuple[ModelCard, dict[str, Path], SglangPrompts | None]:
    """Returns the card of the model, where its files lie, and what makes tokens of prompts, where
    the worker is to.

    Args:
        manager: SGLang's TokenizerManager.
        templates: SGLang's TemplateManager.
    Raises:
        StartError: the model's files cannot be found or served.
    """
    config = manager.model_config
    name, *aliases = served_names(str(manager.served_model_name))
    prompts = SglangPrompts(manager, templates) if tokenizes else None
    card, card_files = build_card(
        model_dir_of(str(manager.config_value("tokenizer_path")), manager.config_value("revision")),
        name=name,
        aliases=aliases,
        context_length=int(manager.context_len),
        vocab_size=int(config.vocab_size),
        eos_token_ids=eos_token_ids(config, manager.tokenizer),
        chat_template=None
        if prompts is not None
        else template_file(manager.config_value("chat_template")),
        pieces=None if prompts is None else prompts.pieces_file(int(config.vocab_size)),
    )
    card = replace(
        card,
        media=await media_taken(manager, _encoder_of(manager)) if manager.is_generation else None,
        tool_call_parser=manager.config_value("tool_call_parser") or "",
        reasoning_parser=manager.config_value("reasoning_parser") or "",
        bounds_thinking=bool(
            manager.config_value("enable_strict_thinking")
            and manager.config_value("reasoning_parser")
        ),
    )
    return card, card_files, prompts


def _encoder_of(manager: Any) -> str:
    """Returns the name of the part of the model that sees; empty where it cannot stand alone."""
    if not has_grids({"architectures": manager.model_config.hf_config.architectures}):
        return ""
    return encoder_name(model_dir_of(str(manager.model_path), manager.config_value("revision")))


def _bootstrap(manager: Any) -> BootstrapServer | None:
    if manager.config_value("disaggregation_mode") != "prefill":
        return None
    return BootstrapServer(
        str(manager.config_value("host")),
        int(manager.config_value("disaggregation_bootstrap_port")),
    )


def _capacity(engine: Any, states: Sequence[Any]) -> Capacity:
    """Returns what each rank holds, by what its scheduler said at its start."""
    manager = engine.tokenizer_manager
    kv_tokens = int(engine._scheduler_init_result.scheduler_infos[0]["max_total_num_tokens"])
    return Capacity(
        dp_size=len(states),
        # Under decode context parallelism a page is told once for the ranks that share it.
        page_size_tokens=int(manager.config_value("page_size"))
        * int(manager.config_value("dcp_size") or 1),
        kv_tokens=kv_tokens,
        slow_kv_tokens=_slow_kv_tokens(manager, kv_tokens),
        requests_running_max=min(
            int(state["effective_max_running_requests_per_dp"]) for state in states
        ),
        prefill_step_tokens=_prefill_step_tokens(manager),
        requests_queued_max=manager.config_value("max_queued_requests"),
        orders_by_priority=_orders_by_priority(manager),
        reuses_prefixes=not manager.config_value("disable_radix_cache"),
    )


def _prefill_step_tokens(manager: Any) -> int:
    """Returns how many new tokens one prefill batch has at most; without chunks of them SGLang
    takes whole prompts up to the other bound.
    """
    chunk = int(manager.config_value("chunked_prefill_size") or 0)
    most = int(manager.config_value("max_prefill_tokens"))
    return min(chunk, most) if chunk > 0 else most


def _orders_by_priority(manager: Any) -> bool:
    """Tells whether SGLang's waiting queue is in the order of priorities, the higher value first,
    and of arrival among equal ones.
    """
    return (
        bool(manager.config_value("enable_priority_scheduling"))
        and manager.config_value("schedule_policy") == "fcfs"
        and not manager.config_value("schedule_low_priority_values_first")
    )


def _preempts(manager: Any) -> bool:
    """Tells whether SGLang orders by priority as its users know it, which somebody asked for."""
    return bool(
        manager.config_value("enable_priority_scheduling")
        and not manager.config_value("disable_priority_preemption")
    )


def _slow_kv_tokens(manager: Any, kv_tokens: int) -> int:
    """Returns how many tokens a hierarchical cache holds outside GPU memory, an upper bound where
    SGLang counts it in gigabytes or not at all.
    """
    if not manager.config_value("enable_hierarchical_cache"):
        return 0
    if manager.config_value("hicache_storage_backend") or manager.config_value("hicache_size"):
        return _SLOW_RATIO_MAX * kv_tokens
    return int((manager.config_value("hicache_ratio") or _HICACHE_RATIO) * kv_tokens)


def read_follower_facts(server_args: Any) -> FollowerFacts:
    """Returns what a node has whose schedulers serve the requests of another."""
    dp_ranks, nodes = server_args.dp_size * (server_args.attn_dp_size or 1), server_args.nnodes
    share = dp_ranks // nodes  # none: its schedulers hold parts of ranks that begin on another node
    ranks = range(server_args.node_rank * share, (server_args.node_rank + 1) * share)
    config = server_args.kv_events_config
    return FollowerFacts(
        page_size_tokens=int(server_args.page_size or 1) * int(server_args.dcp_size or 1),
        kv_streams=stream_addresses(read_config(config), ranks) if config else [],
        version=f"sglang {sglang.__version__}, node {server_args.node_rank} of {nodes}",
    )


def _kv_streams(manager: Any, dp_ranks: int) -> list[StreamAddress]:
    """Returns the addresses at which the ranks of this node publish.

    Each of several nodes runs an equal share of them, in order.
    """
    config = manager.config_value("kv_events_config")
    if not config:
        return []
    return stream_addresses(
        read_config(config), range(max(1, dp_ranks // int(manager.config_value("nnodes"))))
    )


def eos_token_ids(config: Any, tokenizer: Any) -> list[int]:
    """Returns the ids that end a request in SGLang's scheduler: those of the model's configuration
    and those of its tokenizer.
    """
    ids = set(config.hf_eos_token_id or ())
    ids |= set(getattr(tokenizer, "additional_stop_token_ids", None) or ())
    if getattr(tokenizer, "eos_token_id", None) is not None:
        ids.add(tokenizer.eos_token_id)
    return sorted(int(token_id) for token_id in ids)
