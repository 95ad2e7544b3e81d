"""The worker's Hello needs to know what encodes its pictures, which is read here."""

from collections.abc import Callable, Sequence
from typing import Any, Final

import sglang
from msgspec.structs import replace

from protocol.media import MediaTaken
from protocol.membership import Capacity
from protocol.process.start_error import StartError
from workers.engine import EngineFacts
from workers.mesh.model_card import build_card
from workers.sglang.encode_batches import BATCH_TOKENS_MAX
from workers.sglang.facts import eos_token_ids, read_card
from workers.sglang.model_files import model_dir_of, served_names, template_file
from workers.sglang.pictures import TRIED_SIZES, GridImages
from workers.sglang.vision_files import encoder_name

BATCH_PICTURES: Final = 16
"""A batch has at most so many pictures: a few keep a GPU busy, and with more those of the first
request would wait for those of the last.
"""

_UNCOUNTED: Final = "pictures do not become as many tokens as their sizes say"

CAPACITY: Final = Capacity(
    dp_size=1,
    page_size_tokens=16,
    kv_tokens=BATCH_TOKENS_MAX,
    requests_running_max=BATCH_PICTURES,
)
"""What encodes takes so much at once. It caches nothing, so that a page's size says nothing."""


def encoder_facts(
    server_args: Any,
    config: Any,
    images: GridImages,
    tokens_of: Callable[[Sequence[Any]], Sequence[int]],
    *,
    made_by: str,
) -> EngineFacts:
    """Reads names, limits and files of the model, and has two pictures encoded.

    Args:
        server_args: SGLang's, which name the model.
        config: SGLang's ModelConfig of it.
        images: counts the tokens of pictures.
        tokens_of: encodes pictures, and tells how many tokens each became.
        made_by: what encodes, for people.
    Raises:
        StartError: the model's files cannot be found or served, or its pictures cannot be counted.
    """
    from PIL import Image  # noqa: PLC0415

    counted = images.tokens(TRIED_SIZES)
    if [*tokens_of([Image.new("RGB", size) for size in TRIED_SIZES])] != counted:
        raise StartError(_UNCOUNTED)
    name, *aliases = served_names(str(server_args.served_model_name or server_args.model_path))
    revision = server_args.revision
    card, card_files = build_card(
        model_dir_of(str(server_args.tokenizer_path or server_args.model_path), revision),
        name=name,
        aliases=aliases,
        context_length=int(config.context_len),
        vocab_size=int(config.vocab_size),
        eos_token_ids=eos_token_ids(config, None),
        chat_template=template_file(server_args.chat_template),
    )
    media = MediaTaken(
        image_token_id=int(config.hf_config.image_token_id),
        counts_images=True,
        encoder=encoder_name(model_dir_of(str(server_args.model_path), revision)),
    )
    return EngineFacts(
        card=replace(card, media=media),
        card_files=card_files,
        capacity=CAPACITY,
        version=f"sglang {sglang.__version__} {made_by}",
        generates=False,
        images=images,
    )


async def processor_facts(
    manager: Any, templates: Any, images: GridImages, *, tokenizes: bool
) -> EngineFacts:
    """Reads what a processor serves: the same card as that of the engine that it works for.

    Args:
        manager: SGLang's TokenizerManager, without an engine.
        templates: SGLang's TemplateManager.
        images: counts the tokens of pictures.
    Raises:
        StartError: the model's files cannot be found or served, or its pictures cannot be counted.
    """
    card, card_files, prompts = await read_card(manager, templates, tokenizes=tokenizes)
    if card.media is None or not card.media.counts_images:
        raise StartError(_UNCOUNTED)
    return EngineFacts(
        card=card,
        card_files=card_files,
        capacity=CAPACITY,
        version=f"sglang {sglang.__version__} processor",
        generates=False,
        prompts=prompts,
        images=images,
    )
