"""Trains the demo model that draws: `python -m tests.demo_image.train --out FOLDER`.

First the VAE learns to write pictures down in few numbers, then the transformer and its text
encoders learn to make such numbers of noise and a prompt: of small pictures, and from some time on
of larger ones too. On a GPU that takes minutes, which are given: the learning rate falls as they
pass. What was learnt lies in FOLDER as it comes (`*.safetensors`), and a later run goes on from it
(`--on-from FOLDER`). `python -m tests.demo_image.assemble FOLDER` makes the demo's folder of it.

The demo's own weights were learnt on one H200: the VAE in an earlier run, and all else from that
(`--on-from`, `--vae-minutes 0`) in just under five minutes and some 8,900 steps. Of 256 new wishes,
one in five of them for two things, 87.5 % were drawn right at 128x128 then, and 73 % at 256x256.
"""

import argparse
import os
import sys
import time
from math import isfinite
from pathlib import Path
from random import Random
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import l1_loss, mse_loss

from tests.demo_image.course import Course
from tests.demo_image.golden_prompts import PROMPTS
from tests.demo_image.model import untrained_vae, word_tokenizer
from tests.demo_image.painter import Painter, new_wishes, save_weights
from tests.demo_image.pool import Pool

SMALL, LARGE = 128, 256
"""Sides of pictures, in pixels."""

LARGE_EVERY = 2
"""From the time on that large pictures are drawn at all, one step in so many draws them."""

SCORED_S, SCORED = 60, 64
LOST_MAX, LOST_AFTER = 1.3, 1500
"""A larger loss after so many steps shows that recorded ones go wrong."""


def train_vae(vae: Any, pool: Pool, seconds: float, batch: int) -> None:
    """Learns to give pictures back from their latents."""
    course = Course(seconds, 2e-3, list(vae.parameters()), record=False)
    for step in course.steps():
        side = (128, 160, 192)[step % 3]

        def loss(side: int = side) -> Tensor:
            pictures = pool.pictures(pool.pick(batch), side, side)
            spread = vae.encode(pictures).latent_dist
            again = vae.decode(spread.sample()).sample
            lost = l1_loss(again, pictures) + 2 * mse_loss(again, pictures)
            return lost + 1e-5 * spread.kl().mean() / 64

        course.tell(step, "vae", course.learn(loss, f"vae {side}"))


@torch.no_grad()
def measured(vae: Any, pool: Pool) -> tuple[float, float]:
    """What latents must be shifted and scaled by to have mean 0 and deviation 1."""
    pictures = pool.pictures(pool.pick(64), SMALL, SMALL)
    latents = vae.encode(pictures).latent_dist.mode()
    wrong = l1_loss(vae.decode(latents).sample, pictures).item()
    told = f"mean {latents.mean():.3f}, deviation {latents.std():.3f}"
    print(f"latents: {told}; pictures come back {wrong:.4f} away", flush=True)
    return latents.mean().item(), 1 / latents.std().item()


def scaling_of(folder: Path) -> tuple[float, float]:
    """What an earlier run measured."""
    with safe_open(folder / "vae.safetensors", "pt") as file:
        told = file.metadata()
    return float(told["shift_factor"]), float(told["scaling_factor"])


def train_painter(painter: Painter, pool: Pool, options: argparse.Namespace) -> None:
    """Learns to draw, and saves as it goes.

    Raises:
        RuntimeError: steps cannot be recorded on this machine.
    """
    picked = torch.arange(len(pool.ids), device=painter.device)
    large = picked[: options.wishes // 5]
    sides = {SMALL: (pool.ids, painter.latents(pool, picked, options.side))}
    sides[LARGE] = (pool.ids[large], painter.latents(pool, large, LARGE, 64))
    print(f"{len(picked)} and {len(large)} pictures written down", flush=True)
    batches = {SMALL: options.batch, LARGE: max(1, options.batch * 3 // 8)}
    course = Course(60 * options.minutes, options.rate, painter.weights(), record=options.record)

    def learn(side: int) -> Tensor:
        ids, clean = sides[side]
        pixels = options.side if side == SMALL else LARGE
        return course.learn(lambda: painter.loss(ids, clean, pixels, batches[side]), str(side))

    for side in sides:  # what cannot be recorded is to fail at once
        learn(side)
    scored, wishes, larger = time.monotonic(), new_wishes(SCORED), False
    for step in course.steps():
        if not larger and course.gone() >= options.large_from:
            larger = True
            painter.save(options.out / "small")
        side = LARGE if larger and step % LARGE_EVERY == 0 else SMALL
        lost = course.tell(step, f"flow at {side}", learn(side))
        painter.follow(step)
        wrong = lost is not None and (not isfinite(lost) or (lost > LOST_MAX and step > LOST_AFTER))
        if wrong and course.records:
            raise RuntimeError(f"recorded steps learn nothing: {lost}")
        if time.monotonic() - scored > SCORED_S:
            for tried in (options.side, LARGE) if larger else (options.side,):
                print(f"drawn right at {tried}: {painter.score(wishes, tried):.0%}", flush=True)
            painter.save(options.out)
            scored = time.monotonic()
    painter.save(options.out)


def arguments() -> argparse.Namespace:
    """What it is told."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--on-from", type=Path, help="folder of an earlier run")
    parser.add_argument("--vae-minutes", type=float, default=1.2)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--vae-batch", type=int, default=64)
    parser.add_argument("--batch", type=int, default=384, help="small pictures a step")
    parser.add_argument("--rate", type=float, default=1.5e-3, help="of learning, at most")
    parser.add_argument("--side", type=int, default=SMALL, help="of small pictures")
    parser.add_argument("--large-from", type=float, default=0.5, help="share of the time")
    parser.add_argument("--wishes", type=int, default=250_000)
    parser.add_argument("--scored", type=int, default=256, help="wishes tried at the end")
    parser.add_argument("--no-record", dest="record", action="store_false", help="no CUDA graphs")
    return parser.parse_args()


def main() -> None:
    """Trains for the minutes given."""
    options = arguments()
    options.out.mkdir(parents=True, exist_ok=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    # bfloat16 failed in cuBLAS in the backward pass of these narrow layers (H200, CUDA 13)
    torch.set_float32_matmul_precision("high")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.manual_seed(1)
    pool = Pool(word_tokenizer(), Random(1), options.wishes, device)
    vae = untrained_vae().to(device)
    if options.on_from:
        vae.load_state_dict(load_file(options.on_from / "vae.safetensors"))
    if options.vae_minutes:
        train_vae(vae, pool, 60 * options.vae_minutes, options.vae_batch)
    goes_on = options.on_from and (options.on_from / "transformer.safetensors").exists()
    scaling = scaling_of(options.on_from) if goes_on else measured(vae, pool)
    told = {"shift_factor": repr(scaling[0]), "scaling_factor": repr(scaling[1])}
    save_weights(vae, options.out / "vae.safetensors", told)
    painter = Painter(vae, scaling, device)
    if goes_on:
        painter.load(options.on_from)
    try:
        train_painter(painter, pool, options)
    except RuntimeError as error:
        if not options.record or device.type != "cuda":
            raise
        # a broken recording leaves CUDA unusable in this process
        print(f"steps cannot be recorded here, so once more without: {error}", flush=True)
        command = [sys.executable, "-m", "tests.demo_image.train", *sys.argv[1:], "--no-record"]
        if not options.on_from:
            command += ["--on-from", str(options.out), "--vae-minutes", "0"]
        os.execv(sys.executable, command)
    for side in (options.side, LARGE):
        share = painter.score(new_wishes(options.scored), side, told=8)
        print(f"drawn right in the end at {side}: {share:.1%}", flush=True)
        share = painter.score(list(PROMPTS), side, told=30)
        print(f"of the golden prompts at {side}: {share:.1%}", flush=True)


if __name__ == "__main__":
    main()
