"""POST /v1/images/generations and /v1/images/edits are answered here."""

from collections.abc import Sequence
from time import perf_counter

from msgspec.structs import replace

from frontend.api.fields.diffusion import OF_OPERATORS, names_of
from frontend.api.fields.form_bodies import FormBodyParser, Upload
from frontend.api.fields.nvext import NvExt
from frontend.api.fields.param_names import params_named
from frontend.api.images.answers import ImageAnswer, Wanted
from frontend.api.images.conversion import check_images, diffuse_of
from frontend.api.images.references import FILE_FIELDS, read_references
from frontend.api.images.schemas import ImageEditRequest, ImageFields, ImageRequest
from frontend.api.launching import Launcher
from frontend.fleet.model_entry import ModelEntry
from frontend.http.exchange import Exchange
from frontend.models.services import IMAGES
from protocol.diffusion import Diffuse
from protocol.errors import EngineFault, InvalidRequest

_generations = FormBodyParser(ImageRequest, ("input_reference",), OF_OPERATORS)
_edits = FormBodyParser(ImageEditRequest, FILE_FIELDS, OF_OPERATORS)


async def images_generations(exchange: Exchange, launcher: Launcher) -> None:
    """Answers one request to /v1/images/generations."""
    await _run(exchange, launcher, *await _generations.read(exchange))


async def images_edits(exchange: Exchange, launcher: Launcher) -> None:
    """Answers one request to /v1/images/edits."""
    await _run(exchange, launcher, *await _edits.read(exchange))


async def _run(
    exchange: Exchange, launcher: Launcher, request: ImageFields, uploads: Sequence[Upload]
) -> None:
    exchange.model = request.model or ""
    exchange.streams = bool(request.stream)
    answering = _answer(exchange, launcher, request, uploads)
    del request, uploads  # which the answer lets go as soon as it can
    await exchange.run_until_client_leaves(answering)


async def _answer(
    exchange: Exchange, launcher: Launcher, request: ImageFields, uploads: Sequence[Upload]
) -> None:
    wanted = Wanted.of(request)
    names = names_of(request)
    entry, diffuse, asked = await _asked(exchange, launcher, request, uploads)
    del request, uploads
    if exchange.is_large:
        brought_bytes = sum(map(len, diffuse.references)) + len(diffuse.mask)
        kept = replace(diffuse, references=[], mask=b"")
        await exchange.keep_only(kept, beside_bytes=brought_bytes)
    exchange.prepared_at = perf_counter()
    exchange.work = diffusion = launcher.diffusion(entry, diffuse, asked)
    answer = ImageAnswer(exchange, launcher.outputs, wanted)
    try:
        with params_named(names):
            await diffusion.start()
            async for progress in diffusion.progress():
                if wanted.streams:
                    await answer.show(progress)
        made = diffusion.made
        assert made is not None, "it has ended"
        if len(made.outputs) != diffuse.count:
            raise EngineFault("The worker did not make as many pictures as it was asked for.")
        launcher.note_made(diffuse.model, made)
        await (answer.end if wanted.streams else answer.send)(made)
    finally:
        diffusion.close()


async def _asked(
    exchange: Exchange, launcher: Launcher, request: ImageFields, uploads: Sequence[Upload]
) -> tuple[ModelEntry, Diffuse, NvExt]:
    """Returns what is asked of a worker of which model, and of the router.

    Raises:
        MeshError: it cannot be run.
    """
    check_images(request, exchange.ignored)
    entry, asked, lora_name = launcher.models.making(exchange, request, IMAGES)
    references = await read_references(request, uploads, launcher.media, exchange.hold)
    if isinstance(request, ImageEditRequest) and not references.pictures:
        raise InvalidRequest("Missing required parameter: 'image'.", param="image")
    model = entry.served.card.name
    diffuse = diffuse_of(request, exchange, references, model=model, lora_name=lora_name)
    return entry, diffuse, asked
