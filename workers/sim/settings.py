"""The sim engine's settings are SGLang's flags under SGLang's names where SGLang has them, and
--sim-* for the rest.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from protocol.limits import DP_RANKS_MAX
from protocol.process.settings import parse_known_settings, setting, settings_help
from protocol.process.start_error import StartError

_PROG = "python -m workers --engine sim"
_CONFIG_FLAG = "--sim-config"


@dataclass(frozen=True, kw_only=True)
class SimSettings:
    """SimSettings are what a sim engine can be told. Token counts are per data-parallel rank."""

    model_path: str | None = setting(
        None,
        "directory with tokenizer.json; the demo model without it",
        env="KVMESH_SIM_MODEL_PATH",
    )
    served_model_name: str | None = setting(
        None, "model name; the directory's name without it", env="KVMESH_SIM_SERVED_MODEL_NAME"
    )
    context_length: int | None = setting(
        None, "tokens of prompt and completion; any value goes", env="KVMESH_SIM_CONTEXT_LENGTH"
    )
    chat_template: str | None = setting(
        None, "Jinja file instead of the model's own template", env="KVMESH_SIM_CHAT_TEMPLATE"
    )
    page_size: int = setting(16, "KV-cache tokens per page", env="KVMESH_SIM_PAGE_SIZE")
    dp_size: int = setting(
        1, "data-parallel ranks, each with its own scheduler and cache", env="KVMESH_SIM_DP_SIZE"
    )
    max_total_tokens: int = setting(
        524_288, "KV-cache tokens of each rank", env="KVMESH_SIM_MAX_TOTAL_TOKENS"
    )
    max_running_requests: int = setting(
        256, "requests each rank runs at once", env="KVMESH_SIM_MAX_RUNNING_REQUESTS"
    )
    max_queued_requests: int = setting(
        16_384,
        "requests each rank lets wait; more fail as overloaded",
        env="KVMESH_SIM_MAX_QUEUED_REQUESTS",
    )
    chunked_prefill_size: int = setting(
        8_192,
        "new tokens of one prefill step; -1 for no limit",
        env="KVMESH_SIM_CHUNKED_PREFILL_SIZE",
    )
    schedule_policy: str = setting(
        "fcfs",
        "order of the waiting queue",
        env="KVMESH_SIM_SCHEDULE_POLICY",
        choices=("fcfs", "lpm"),
    )
    schedule_conservativeness: float = setting(
        1.0,
        "share of future output reserved at admission; low values retract more",
        env="KVMESH_SIM_SCHEDULE_CONSERVATIVENESS",
    )
    stream_interval: int = setting(
        1, "tokens per delta of a streaming request", env="KVMESH_SIM_STREAM_INTERVAL"
    )
    disable_radix_cache: bool = setting(
        default=False, help_text="no prefix cache", env="KVMESH_SIM_DISABLE_RADIX_CACHE"
    )
    decode_log_interval: int = setting(
        40, "decode steps after which KV events are published", env="KVMESH_SIM_DECODE_LOG_INTERVAL"
    )
    kv_events_config: str | None = setting(
        None,
        "SGLang's JSON for publishing KV events; made by the worker if not given",
        env="KVMESH_SIM_KV_EVENTS_CONFIG",
    )
    is_embedding: bool = setting(
        default=False,
        help_text="make vectors of texts instead of answers",
        env="KVMESH_SIM_IS_EMBEDDING",
    )
    disaggregation_mode: str = setting(
        "null",
        "what is done of each request: all of it, its prompt for other engines, or what follows",
        env="KVMESH_SIM_DISAGGREGATION_MODE",
        choices=("null", "prefill", "decode"),
    )
    disaggregation_bootstrap_port: int = setting(
        0,
        "port where engines that generate meet one that computes prompts; 0 for any free one",
        env="KVMESH_SIM_DISAGGREGATION_BOOTSTRAP_PORT",
    )
    host: str = setting("127.0.0.1", "host of that port", env="KVMESH_SIM_HOST")
    sim_transfer_gb_s: float = setting(
        50.0,
        "gigabytes a second at which the cache of a prompt travels (128 KiB a token)",
        env="KVMESH_SIM_TRANSFER_GB_S",
    )
    sim_handover_wait_s: float = setting(
        30.0,  # as workers have SGLang wait
        "seconds that an engine waits for the other that has a part in a request",
        env="KVMESH_SIM_HANDOVER_WAIT_S",
    )
    sim_embedding_dimensions: int = setting(
        384, "numbers in such a vector", env="KVMESH_SIM_EMBEDDING_DIMENSIONS"
    )
    sim_encode_ms: float = setting(
        20.0,
        "milliseconds that it takes to encode pictures, beside those of their tokens",
        env="KVMESH_SIM_ENCODE_MS",
    )
    sim_step_ms: float = setting(
        50.0,
        "milliseconds that one step takes for each megapixel of a picture, or of a frame",
        env="KVMESH_SIM_STEP_MS",
    )
    dllm_algorithm: str | None = setting(
        None,
        "make text as by diffusion, a block at a time, with SGLang's algorithm of this name",
        env="KVMESH_SIM_DLLM_ALGORITHM",
        choices=("LowConfidence", "JointThreshold", "JointThresholdInDel", "Gemma4Renoise"),
    )
    sim_dllm_block: int = setting(
        4, "tokens of such a block, and of a page then", env="KVMESH_SIM_DLLM_BLOCK"
    )
    sim_dllm_steps: int = setting(5, "steps that such a block takes", env="KVMESH_SIM_DLLM_STEPS")
    sim_speedup: float = setting(
        1.0,
        "times faster than the timing model; 0 is as fast as Python goes",
        env="KVMESH_SIM_SPEEDUP",
    )
    sim_seed: int = setting(
        0,
        "another seed writes other text; equal on every worker of one model",
        env="KVMESH_SIM_SEED",
    )
    sim_startup_s: float = setting(
        0.0, "seconds the engine takes to start", env="KVMESH_SIM_STARTUP_S"
    )
    sim_vocab: str = setting(
        "words",
        "ids to write with: readable words, or any id that is not special",
        env="KVMESH_SIM_VOCAB",
        choices=("words", "any"),
    )
    sim_output_tokens_mean: float = setting(
        0.0,
        "mean of the geometric output length, ended by an eos token; 0: always max_new_tokens",
        env="KVMESH_SIM_OUTPUT_TOKENS_MEAN",
    )
    sim_fault: tuple[str, ...] = setting(
        (),
        "fault to play, KIND or KIND=VALUE (workers/sim/faults.py); repeatable",
        env="KVMESH_SIM_FAULT",
    )
    sim_request_faults: bool = setting(
        default=False,
        help_text="let requests ask for faults through magic seeds (workers/sim/faults.py)",
        env="KVMESH_SIM_REQUEST_FAULTS",
    )


def read_settings(argv: Sequence[str]) -> SimSettings:
    """Reads the engine's part of a command line.

    Raises:
        StartError: an argument the sim engine does not have, or a value out of its range.
    """
    settings, rest = parse_known_settings(
        SimSettings, argv, prog=_PROG, config_flag=_CONFIG_FLAG, add_help=False
    )
    if rest:
        raise StartError(f"the sim engine does not know: {' '.join(rest)}")
    _check(settings)
    return settings if settings.dllm_algorithm is None else _diffusing(settings)


def help_text() -> str:
    """Returns the --help of the sim engine."""
    return settings_help(SimSettings, prog=_PROG, config_flag=_CONFIG_FLAG)


def _diffusing(settings: SimSettings) -> SimSettings:
    """Returns the settings as SGLang would set them right for diffusion.

    Raises:
        StartError: they divide requests, which diffusion does not.
    """
    if settings.disaggregation_mode != "null" or settings.is_embedding:
        raise StartError("--disaggregation-mode and --is-embedding do not go with --dllm-algorithm")
    return replace(
        settings,
        page_size=settings.sim_dllm_block,
        disable_radix_cache=settings.disable_radix_cache
        or settings.dllm_algorithm == "Gemma4Renoise",
    )


def _check(settings: SimSettings) -> None:
    at_least: dict[str, Any] = {
        "page_size": 1,
        "dp_size": 1,
        "max_total_tokens": settings.page_size * 2,
        "max_running_requests": 1,
        "max_queued_requests": 1,
        "schedule_conservativeness": 0.0,
        "stream_interval": 1,
        "decode_log_interval": 1,
        "sim_embedding_dimensions": 1,
        "sim_dllm_block": 1,
        "sim_dllm_steps": 1,
        "sim_speedup": 0.0,
        "sim_startup_s": 0.0,
        "sim_encode_ms": 0.0,
        "sim_step_ms": 0.0,
        "sim_transfer_gb_s": 0.001,
        "sim_handover_wait_s": 0.0,
        "disaggregation_bootstrap_port": 0,
        "sim_output_tokens_mean": 0.0,
    }
    for name, smallest in at_least.items():
        value = getattr(settings, name)
        if not value >= smallest:
            raise StartError(f"--{name.replace('_', '-')} must be at least {smallest}, not {value}")
    if settings.chunked_prefill_size != -1 and settings.chunked_prefill_size < settings.page_size:
        raise StartError(
            f"--chunked-prefill-size must be -1 or at least the page size ({settings.page_size})"
        )
    if settings.context_length is not None and settings.context_length < 1:
        raise StartError(f"--context-length must be at least 1, not {settings.context_length}")
    if settings.dp_size > DP_RANKS_MAX:
        raise StartError(f"--dp-size must be at most {DP_RANKS_MAX}, not {settings.dp_size}")
