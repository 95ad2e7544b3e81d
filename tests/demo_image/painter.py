"""The transformer that paints and the text encoders that tell it what, as they are trained."""

from copy import deepcopy
from math import log
from pathlib import Path
from random import Random
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import mse_loss

from tests.demo_image.model import (
    CONTROL,
    END,
    PAD,
    PIXELS_A_TOKEN,
    untrained_pooled_encoder,
    untrained_text_encoder,
    untrained_transformer,
    word_tokenizer,
)
from tests.demo_image.pool import WORDS_MAX, Pool, ids_of
from tests.demo_image.prompts import Wish, make_wish
from tests.demo_image.sampling import Said, encoded, flow, packed, places, sample
from tests.demo_image.scoring import faults

SILENT = 0.04
"""This share of prompts is empty, for guidance by comparison with nothing."""

SHIFT = 1.8
"""Times lean to the noise by this, since it is there that it is settled what is drawn."""

EVEN = 0.2
"""This share of times is even from 0 to 1, lest the ends be forgotten."""

PADDED_MAX = 512
"""Flux pipelines fill prompts up to this, where they are not told less."""

FOLLOWED = 8
"""The average takes notice every so many steps."""

NAMES = ("transformer", "text_encoder", "text_encoder_2")


class Painter:
    """A Painter is the transformer with its text encoders, and an average of them over time."""

    def __init__(self, vae: Any, scaling: tuple[float, float], device: torch.device) -> None:
        self.vae, self.scaling, self.device = vae.requires_grad_(False), scaling, device
        made = (untrained_transformer(), untrained_pooled_encoder(), untrained_text_encoder())
        self.parts = tuple(part.to(device).train() for part in made)
        self.average = deepcopy(self.parts)
        self.silence = torch.full((WORDS_MAX,), CONTROL.index(PAD), device=device)
        self.silence[0] = CONTROL.index(END)

    def weights(self) -> list[Any]:
        """What is learnt."""
        return [one for part in self.parts for one in part.parameters() if one.requires_grad]

    @torch.no_grad()
    def latents(self, pool: Pool, picked: Tensor, side: int, batch: int = 256) -> Tensor:
        """Tokens of pictures of these wishes, in bfloat16."""
        made = []
        for some in picked.split(batch):
            latents = self.vae.encode(pool.pictures(some, side, side)).latent_dist.mode()
            made.append(packed((latents - self.scaling[0]) * self.scaling[1]).bfloat16())
        return torch.cat(made)

    def loss(self, ids: Tensor, clean: Tensor, side: int, batch: int) -> Tensor:
        """Of one batch of those wishes and their pictures' tokens."""
        picked = torch.randint(len(ids), (batch,), device=self.device)
        silent = torch.rand(batch, 1, device=self.device) < SILENT
        asked = torch.where(silent, self.silence, ids[picked])
        tokens = clean[picked].float()
        times = torch.sigmoid(torch.randn(batch, device=self.device))
        times = SHIFT * times / (1 + (SHIFT - 1) * times)
        chance = torch.rand(2, batch, device=self.device)
        times = torch.where(chance[0] < EVEN, chance[1], times)
        noise = torch.randn_like(tokens)
        share = times[:, None, None]
        noisy = (1 - share) * tokens + share * noise
        transformer, pooled_encoder, text_encoder = self.parts
        said = encoded(text_encoder, pooled_encoder, asked)
        said = Said(said.text, said.pooled, self._padding(batch, tokens.shape[1]))
        cells = side // PIXELS_A_TOKEN
        told = flow(transformer, noisy, said, times, places(cells, cells, self.device))
        return mse_loss(told.float(), noise - tokens)

    def _padding(self, batch: int, tokens: int) -> Tensor:
        """The last token of the prompt stands for any number of them, half the time for all.

        Tokens of padding are all alike, so attention to many is attention to one, times their
        number.
        """
        most = log(PADDED_MAX - WORDS_MAX + 1)
        many = (2 * torch.rand(batch, device=self.device)).clamp(max=1) * most
        weight = torch.zeros(batch, 1, 1, WORDS_MAX + tokens, device=self.device)
        weight[:, 0, 0, WORDS_MAX - 1] = many
        return weight

    @torch.no_grad()
    def follow(self, step: int) -> None:
        """Moves the average towards what was learnt."""
        if step % FOLLOWED:
            return
        kept = min(0.99, (step + 1) / (step + 10 * FOLLOWED))
        for average, part in zip(self.average, self.parts, strict=True):
            torch._foreach_lerp_(list(average.parameters()), list(part.parameters()), 1 - kept)

    @torch.no_grad()
    def score(self, wishes: list[Wish], side: int, steps: int = 12, told: int = 5) -> float:
        """The share of wishes that the average draws without a fault."""
        transformer, pooled_encoder, text_encoder = self.average
        texts = [wish.prompt for wish in wishes]
        ids = ids_of(word_tokenizer(), texts, PADDED_MAX, self.device)
        latents = sample(transformer, encoded(text_encoder, pooled_encoder, ids), side, side, steps)
        pictures = self.vae.decode(latents / self.scaling[1] + self.scaling[0]).sample
        pixels = ((pictures.float() + 1) * 127.5).clamp(0, 255).byte().permute(0, 2, 3, 1)
        right = 0
        for picture, wish in zip(pixels.cpu().numpy(), wishes, strict=True):
            wrong = faults(picture, wish)
            right += not wrong
            if wrong and told:
                told -= 1
                print(f"    {wish.prompt}: {'; '.join(wrong)[:150]}")
        return right / len(wishes)

    def save(self, out: Path) -> None:
        """Writes the average's weights."""
        out.mkdir(parents=True, exist_ok=True)
        for name, part in zip(NAMES, self.average, strict=True):
            save_weights(part, out / f"{name}.safetensors")

    def load(self, folder: Path) -> None:
        """Goes on from weights that were saved."""
        for models in (self.average, self.parts):
            for name, model in zip(NAMES, models, strict=True):
                model.load_state_dict(load_file(folder / f"{name}.safetensors"), strict=False)


def new_wishes(count: int) -> list[Wish]:
    """Wishes to try, always the same."""
    rng = Random(77)
    return [make_wish(rng) for _ in range(count)]


def save_weights(part: Any, path: Path, told: dict[str, str] | None = None) -> None:
    """Writes weights in bfloat16 by name, each once, all or nothing."""
    weights = {
        name: weight.detach().bfloat16().cpu().contiguous()
        for name, weight in part.named_parameters()
    }
    beside = path.with_suffix(".part")
    save_file(weights, beside, told)
    beside.replace(path)
