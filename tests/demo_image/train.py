"""Trains the demo model that draws: `python -m tests.demo_image.train --out FOLDER`.

First the VAE learns to write pictures down in few numbers, then the transformer and its T5 learn to
make such numbers of noise and a prompt. On a GPU that takes minutes, which are given: the learning
rate falls as they pass. What was learnt lies in FOLDER as it comes (`*.safetensors`), and a later
run goes on from it (`--on-from FOLDER`). `python -m tests.demo_image.assemble FOLDER` makes the
demo's folder of it.
"""

import argparse
import time
from collections.abc import Iterator
from copy import deepcopy
from math import cos, pi
from pathlib import Path
from random import Random
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import l1_loss, mse_loss, pad

from tests.demo_image.model import (
    CONTROL,
    END,
    PAD,
    PIXELS_A_TOKEN,
    untrained_text_encoder,
    untrained_transformer,
    untrained_vae,
    word_tokenizer,
)
from tests.demo_image.pool import Pool, ids_of
from tests.demo_image.prompts import make_wish
from tests.demo_image.sampling import flow, packed, places, sample
from tests.demo_image.scoring import faults

SIZES = ((256, 256),) * 5 + ((128, 128), (192, 192), (192, 256), (256, 192), (320, 320))
"""Heights and widths in pixels; most are what the demo is asked for."""

TEXT_TOKENS = (32,) * 5 + (64, 64, 128, 512, 512)
"""A prompt is filled up to this; Flux pipelines fill it up to 512 where they are not told."""

SILENT = 0.08
"""This share of prompts is empty, for guidance by comparison with nothing."""

NOISES = 2
"""Each picture is used with so many noises."""

SHIFT = 1.8
"""Times lean to the noise by this, since it is there that it is settled what is drawn."""

TOLD_S, SCORED_S = 10, 60
SCORED = 64


class Course:
    """A Course is the time that a phase has: what is left of it sets the learning rate."""

    def __init__(self, seconds: float, peak: float, weights: list[Any]) -> None:
        self._started, self._seconds, self._peak = time.monotonic(), seconds, peak
        self.optimizer = torch.optim.AdamW(weights, lr=peak, betas=(0.9, 0.98), weight_decay=0.01)
        self._weights, self._told, self._running = weights, 0.0, 0.0

    def steps(self) -> Iterator[int]:
        """Counts steps until the time is over."""
        step = 0
        while (gone := self.gone()) < 1:
            rate = self._peak * min(1.0, (step + 1) / 200) * (1e-2 + 0.5 * (1 + cos(pi * gone)))
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            yield step
            step += 1

    def gone(self) -> float:
        """The share of the time that has passed."""
        return (time.monotonic() - self._started) / self._seconds

    def learn(self, loss: Tensor, name: str, step: int) -> None:
        """Takes one step of the optimizer, and tells the loss now and then."""
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._weights, 1.0)
        self.optimizer.step()
        now = time.monotonic()
        if step % 20 == 0:
            self._running = loss.item() + 0.8 * (self._running - loss.item()) * (step > 0)
        if step % 20 == 0 and now - self._told > TOLD_S:
            self._told = now
            print(f"{name} {step} {self._running:.5f} at {self.gone():.0%}", flush=True)


def autocast(device: torch.device) -> Any:
    """bfloat16 where that is fast."""
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")


def train_vae(vae: Any, pool: Pool, seconds: float, batch: int) -> None:
    """Learns to give pictures back from their latents."""
    device = pool.ids.device
    course = Course(seconds, 2e-3, list(vae.parameters()))
    for step in course.steps():
        side = (128, 160, 192)[step % 3]
        pictures = pool.pictures(pool.pick(batch), side, side)
        with autocast(device):
            spread = vae.encode(pictures).latent_dist
            again = vae.decode(spread.sample()).sample
        again = again.float()
        loss = l1_loss(again, pictures) + 2 * mse_loss(again, pictures)
        course.learn(loss + 1e-5 * spread.kl().mean() / 64, "vae", step)


@torch.no_grad()
def measured(vae: Any, pool: Pool) -> tuple[float, float]:
    """What latents must be shifted and scaled by to have mean 0 and deviation 1."""
    pictures = pool.pictures(pool.pick(64), 256, 256)
    latents = vae.encode(pictures).latent_dist.mode()
    wrong = l1_loss(vae.decode(latents).sample, pictures).item()
    told = f"mean {latents.mean():.3f}, deviation {latents.std():.3f}"
    print(f"latents: {told}; pictures come back {wrong:.4f} away", flush=True)
    return latents.mean().item(), 1 / latents.std().item()


class Painter:
    """A Painter is the transformer with its T5, and an average of both over time."""

    def __init__(self, vae: Any, scaling: tuple[float, float], device: torch.device) -> None:
        self.vae, self.scaling, self.device = (
            vae.requires_grad_(requires_grad=False),
            scaling,
            device,
        )
        self.transformer = untrained_transformer().to(device)
        self.text_encoder = untrained_text_encoder().to(device)
        self.average = deepcopy((self.transformer, self.text_encoder))

    def loss(self, pool: Pool, batch: int, rng: Random) -> Tensor:
        """Of one batch of pictures of one size."""
        height, width = rng.choice(SIZES)
        length = rng.choice(TEXT_TOKENS)
        count = max(1, int(batch * 288 / (height * width // PIXELS_A_TOKEN**2 + length)))
        picked = pool.pick(count)
        ids = pool.ids[picked].clone()
        ids[torch.rand(count, device=self.device) < SILENT] = self.silence(ids.shape[1])
        ids = pad(ids, (0, length - ids.shape[1]), value=CONTROL.index(PAD))
        with torch.no_grad(), autocast(self.device):
            latents = self.vae.encode(pool.pictures(picked, height, width)).latent_dist.mode()
        tokens = packed((latents.float() - self.scaling[0]) * self.scaling[1]).repeat(NOISES, 1, 1)
        times = torch.sigmoid(torch.randn(len(tokens), device=self.device))
        times = SHIFT * times / (1 + (SHIFT - 1) * times)
        noise = torch.randn_like(tokens)
        share = times[:, None, None]
        noisy = (1 - share) * tokens + share * noise
        grid = places(height // PIXELS_A_TOKEN, width // PIXELS_A_TOKEN, self.device)
        with autocast(self.device):
            text = self.text_encoder(ids).last_hidden_state.repeat(NOISES, 1, 1)
            told = flow(self.transformer, noisy, text, times, grid)
        return mse_loss(told.float(), noise - tokens)

    def silence(self, length: int) -> Tensor:
        """The empty prompt."""
        ids = torch.full((length,), CONTROL.index(PAD), device=self.device)
        ids[0] = CONTROL.index(END)
        return ids

    @torch.no_grad()
    def follow(self, step: int) -> None:
        """Moves the average towards what was learnt."""
        kept = min(0.999, (step + 1) / (step + 10))
        for average, part in zip(self.average, (self.transformer, self.text_encoder), strict=True):
            torch._foreach_lerp_(list(average.parameters()), list(part.parameters()), 1 - kept)

    @torch.no_grad()
    def score(self, count: int, steps: int = 12) -> float:
        """The share of new wishes that the average draws without a fault."""
        rng = Random(77)
        wishes = [make_wish(rng) for _ in range(count)]
        transformer, text_encoder = self.average
        ids = ids_of(word_tokenizer(), [wish.prompt for wish in wishes], 512, self.device)
        with autocast(self.device):
            text = text_encoder(ids).last_hidden_state
            latents = sample(transformer, text, 256, 256, steps)
            pictures = self.vae.decode(latents / self.scaling[1] + self.scaling[0]).sample
        pixels = ((pictures.float() + 1) * 127.5).clamp(0, 255).byte().permute(0, 2, 3, 1)
        found = [
            faults(picture, wish)
            for picture, wish in zip(pixels.cpu().numpy(), wishes, strict=True)
        ]
        for wish, wrong in list(zip(wishes, found, strict=True))[:24]:
            if wrong:
                print(f"    {wish.prompt}: {'; '.join(wrong)}")
        return sum(not wrong for wrong in found) / count

    def save(self, out: Path) -> None:
        """Writes the average's weights."""
        for name, part in zip(("transformer", "text_encoder_2"), self.average, strict=True):
            save_weights(part, out / f"{name}.safetensors")

    def load(self, folder: Path) -> None:
        """Goes on from weights that were saved."""
        for name, average, part in zip(
            ("transformer", "text_encoder_2"),
            self.average,
            (self.transformer, self.text_encoder),
            strict=True,
        ):
            for model in (average, part):
                model.load_state_dict(load_file(folder / f"{name}.safetensors"), strict=False)


def save_weights(part: Any, path: Path, told: dict[str, str] | None = None) -> None:
    """Writes weights by name, each once."""
    weights = {
        name: weight.detach().float().cpu().contiguous() for name, weight in part.named_parameters()
    }
    save_file(weights, path, told)


def train_painter(painter: Painter, pool: Pool, seconds: float, batch: int, out: Path) -> None:
    """Learns to draw, and saves as it goes."""
    weights = [*painter.transformer.parameters(), *painter.text_encoder.parameters()]
    course = Course(seconds, 1e-3, [weight for weight in weights if weight.requires_grad])
    rng, scored = Random(1), time.monotonic()
    for step in course.steps():
        course.learn(painter.loss(pool, batch, rng), "flow", step)
        painter.follow(step)
        if time.monotonic() - scored > SCORED_S:
            print(f"drawn right: {painter.score(SCORED):.0%} at {course.gone():.0%}", flush=True)
            painter.save(out)
            scored = time.monotonic()
    painter.save(out)


def main() -> None:
    """Trains for the minutes given."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--out", type=Path, required=True)
    arguments.add_argument("--on-from", type=Path, help="folder of an earlier run")
    arguments.add_argument("--vae-minutes", type=float, default=1.2)
    arguments.add_argument("--minutes", type=float, default=5.5)
    arguments.add_argument("--vae-batch", type=int, default=64)
    arguments.add_argument("--batch", type=int, default=96, help="pictures a step")
    arguments.add_argument("--wishes", type=int, default=150_000)
    arguments.add_argument("--scored", type=int, default=240, help="wishes tried at the end")
    options = arguments.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.manual_seed(1)
    started = time.monotonic()
    pool = Pool(word_tokenizer(), Random(1), options.wishes, device)
    print(f"{options.wishes} wishes after {time.monotonic() - started:.0f} s", flush=True)
    vae = untrained_vae().to(device, memory_format=torch.channels_last)
    if options.on_from:
        vae.load_state_dict(load_file(options.on_from / "vae.safetensors"))
    if options.vae_minutes:
        train_vae(vae, pool, 60 * options.vae_minutes, options.vae_batch)
    scaling = measured(vae, pool)
    told = {"shift_factor": repr(scaling[0]), "scaling_factor": repr(scaling[1])}
    save_weights(vae, options.out / "vae.safetensors", told)
    painter = Painter(vae, scaling, device)
    if options.on_from and (options.on_from / "transformer.safetensors").exists():
        painter.load(options.on_from)
    train_painter(painter, pool, 60 * options.minutes, options.batch, options.out)
    print(f"drawn right in the end: {painter.score(options.scored):.1%}", flush=True)


if __name__ == "__main__":
    main()
