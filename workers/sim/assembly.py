"""A simulated engine is put together from its model's files, and a scheduler and an outlet of KV
events for each rank.
"""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, cast

import msgspec
import zmq

from protocol.limits import MESSAGE_CHARS_MAX
from protocol.membership import Capacity, ModelCard, SamplingDefaults
from protocol.process.start_error import StartError
from protocol.text_diffusion import TextDiffusion
from protocol.transport.sockets import Socket
from workers.demo_model import demo_model_dir
from workers.engine import Deliver, EngineFacts
from workers.kv_events_config import KvEventsConfig
from workers.mesh.model_card import build_card
from workers.sim.adapters import SimAdapters
from workers.sim.faults import Faults
from workers.sim.pictures import SimPictures, media_of
from workers.sim.ranks import Ranks
from workers.sim.runner import RankRunner
from workers.sim.scheduling.diffusing import DiffusingScheduler
from workers.sim.scheduling.kv_outlet import KvOutlet
from workers.sim.scheduling.limits import SchedulerLimits
from workers.sim.scheduling.radix_cache import CacheListener, RadixCache
from workers.sim.scheduling.scheduler import Scheduler
from workers.sim.scheduling.sequence import RequestLimits
from workers.sim.settings import SimSettings
from workers.sim.text import TextModel
from workers.sim.timing import TimingModel
from workers.sim.vocabulary import read_word_ids


def read_model(settings: SimSettings) -> tuple[EngineFacts, list[int]]:
    """Returns the facts of the engine to be, and the token ids that it writes with.

    Raises:
        StartError: there is no usable model directory.
    """
    model_dir = Path(settings.model_path) if settings.model_path else demo_model_dir()
    if not model_dir.is_dir():
        raise StartError(
            f"{str(model_dir)[:MESSAGE_CHARS_MAX]} is no directory: the sim engine reads its "
            "tokenizer from disk"
        )
    card, card_files = build_card(
        model_dir,
        name=settings.served_model_name or model_dir.resolve().name,
        context_length=settings.context_length,
        chat_template=Path(settings.chat_template) if settings.chat_template else None,
    )
    card = told_of_diffusion(msgspec.structs.replace(card, media=media_of(model_dir)), settings)
    kind = cast("Literal['words', 'any']", settings.sim_vocab)
    words = read_word_ids(
        model_dir / "tokenizer.json",
        vocab_size=card.vocab_size,
        kind=kind,
        excluded=card.eos_token_ids,
    )
    capacity = Capacity(
        dp_size=settings.dp_size,
        page_size_tokens=settings.page_size,
        kv_tokens=settings.max_total_tokens // settings.page_size * settings.page_size,
        requests_running_max=settings.max_running_requests,
        prefill_step_tokens=settings.chunked_prefill_size
        if settings.chunked_prefill_size > 0
        else settings.max_total_tokens,
        requests_queued_max=settings.max_queued_requests,
        orders_by_priority=settings.schedule_policy == "fcfs",
        reuses_prefixes=not settings.disable_radix_cache,
    )
    if settings.is_embedding:
        card = msgspec.structs.replace(card, embedding_dimensions=settings.sim_embedding_dimensions)
    return EngineFacts(
        card=card,
        card_files=card_files,
        capacity=capacity,
        version="sim",
        model_path=str(model_dir),
        tokenizer_path=str(model_dir),
        generates=not settings.is_embedding,
        disaggregation_mode=cast(
            "Literal['null', 'prefill', 'decode']", settings.disaggregation_mode
        ),
        adapters=SimAdapters(),
    ), words


def text_of(settings: SimSettings, facts: EngineFacts, words: list[int]) -> TextModel:
    """Returns the model of text that writes with these ids, as the settings say."""
    eos_ids = facts.card.eos_token_ids
    return TextModel(
        words,
        seed=settings.sim_seed,
        eos_id=eos_ids[0] if eos_ids else None,
        output_tokens_mean=settings.sim_output_tokens_mean,
    )


def limits_of(settings: SimSettings, facts: EngineFacts) -> RequestLimits:
    """Returns the limits that a request must keep to."""
    return RequestLimits(
        context_length=facts.card.context_length,
        vocab_size=facts.card.vocab_size,
        kv_tokens_max=facts.capacity.kv_tokens,
        stream_interval=settings.stream_interval,
    )


def open_outlets(
    settings: SimSettings,
    config: KvEventsConfig,
    faults: Faults,
    context: zmq.Context[Socket],
    pictures: SimPictures,
) -> list[KvOutlet]:
    """Opens for each rank what publishes its KV events.

    Raises:
        StartError: a socket cannot be had; none is open then, and the context is destroyed.
    """
    page_size, steps_max = settings.page_size, settings.decode_log_interval
    outlets: list[KvOutlet] = []
    try:
        for rank in range(settings.dp_size):
            outlet = KvOutlet(
                context,
                config,
                rank,
                page_size=page_size,
                steps_max=steps_max,
                faults=faults,
                pictures=pictures,
            )
            outlets.append(outlet)
    except StartError:
        for outlet in outlets:  # by hand, since the loop watches their replays
            outlet.close()
        context.destroy(linger=0)  # with the socket that could not be had, if it is still open
        raise
    return outlets


def timing_of(settings: SimSettings) -> TimingModel:
    """Returns how long things take, at speed 1."""
    a_token_ms, _ = TimingModel.encode
    return TimingModel(encode=(a_token_ms, settings.sim_encode_ms))


def scheduler_of(
    settings: SimSettings, rank: int, text: TextModel, listener: CacheListener | None
) -> Scheduler:
    """Returns the scheduler of one rank, with an empty cache."""
    limits = SchedulerLimits(
        page_size_tokens=settings.page_size,
        kv_pages=settings.max_total_tokens // settings.page_size,
        requests_running_max=settings.max_running_requests,
        requests_waiting_max=settings.max_queued_requests,
        chunk_tokens=settings.chunked_prefill_size
        if settings.chunked_prefill_size > 0
        else 1 << 62,
        policy=cast("Literal['fcfs', 'lpm']", settings.schedule_policy),
        conservativeness=settings.schedule_conservativeness,
        prefix_cache=not settings.disable_radix_cache,
    )
    cache, timing = RadixCache(settings.page_size, listener), timing_of(settings)
    if settings.dllm_algorithm is None:
        return Scheduler(limits, cache, text, timing, dp_rank=rank)
    return DiffusingScheduler(
        limits, cache, text, timing, dp_rank=rank, block_steps=settings.sim_dllm_steps
    )


def ranks_of(
    settings: SimSettings,
    text: TextModel,
    outlets: Sequence[KvOutlet],
    *,
    deliver: Deliver,
    faults: Faults,
    unix_ms: Callable[[], int],
) -> Ranks:
    """Returns the ranks of an engine, stepped by the loop that runs.

    Args:
        outlets: publish the KV events, one a rank; or there are none at all.
    """
    schedulers: list[Scheduler] = []
    runners: list[RankRunner] = []
    for rank, outlet in enumerate(outlets or [None] * settings.dp_size):
        scheduler = scheduler_of(settings, rank, text, outlet)
        runner = RankRunner(
            scheduler,
            deliver,
            asyncio.get_running_loop(),
            faults,
            speedup=settings.sim_speedup,
            unix_ms=unix_ms,
            outlet=outlet,
        )
        schedulers.append(scheduler)
        runners.append(runner)
    return Ranks(schedulers, runners)


def told_of_diffusion(card: ModelCard, settings: SimSettings) -> ModelCard:
    """Returns the card as it is, or as an engine has it that makes text by diffusion."""
    algorithm, block = settings.dllm_algorithm, settings.sim_dllm_block
    if algorithm is None:
        return card
    return msgspec.structs.replace(
        card,
        text_diffusion=TextDiffusion(algorithm, block, greedy=algorithm != "Gemma4Renoise"),
        defaults=SamplingDefaults(),
    )
