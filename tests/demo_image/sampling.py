"""Packs latents and draws with a Flux in a few steps, as its pipelines do."""

from dataclasses import dataclass
from itertools import pairwise
from math import exp
from typing import Any

import torch
from torch import Tensor

from tests.demo_image.model import CONTROL, LATENTS, PIXELS_A_TOKEN, POOLED, SCHEDULER, START


def packed(latents: Tensor) -> Tensor:
    """Tokens of 2 x 2 latents, of shape [pictures, tokens, 4 * LATENTS]."""
    count, channels, height, width = latents.shape
    cells = latents.view(count, channels, height // 2, 2, width // 2, 2)
    return cells.permute(0, 2, 4, 1, 3, 5).reshape(count, height * width // 4, 4 * channels)


def unpacked(tokens: Tensor, rows: int, columns: int) -> Tensor:
    """Latents of `rows` times `columns` tokens."""
    cells = tokens.view(len(tokens), rows, columns, LATENTS, 2, 2).permute(0, 3, 1, 4, 2, 5)
    return cells.reshape(len(tokens), LATENTS, 2 * rows, 2 * columns)


def places(rows: int, columns: int, device: torch.device) -> Tensor:
    """Where tokens are, as the transformer is told."""
    ids = torch.zeros(rows, columns, 3, device=device)
    ids[..., 1] += torch.arange(rows, device=device)[:, None]
    ids[..., 2] += torch.arange(columns, device=device)[None]
    return ids.view(-1, 3)


@dataclass(frozen=True)
class Said:
    """What text encoders say of prompts.

    `weight` is added to how much each token is attended to, where it is given: a token of padding
    can stand for many.
    """

    text: Tensor
    pooled: Tensor
    weight: Tensor | None = None


def encoded(text_encoder: Any, pooled_encoder: Any, ids: Tensor) -> Said:
    """Both encoders' words on tokens without a start."""
    start = ids.new_full((len(ids), 1), CONTROL.index(START))
    within = torch.cat([start, ids[:, : POOLED["max_position_embeddings"] - 1]], dim=1)
    pooled = pooled_encoder(input_ids=within).pooler_output
    return Said(text_encoder(input_ids=ids).last_hidden_state, pooled)


def flow(transformer: Any, tokens: Tensor, said: Said, time: Tensor, grid: Tensor) -> Tensor:
    """Where the transformer says that noisy tokens come from: noise minus picture."""
    return transformer(
        hidden_states=tokens,
        encoder_hidden_states=said.text,
        pooled_projections=said.pooled,
        timestep=time,
        img_ids=grid,
        txt_ids=grid.new_zeros(said.text.shape[1], 3),
        joint_attention_kwargs=None if said.weight is None else {"attention_mask": said.weight},
        return_dict=False,
    )[0]


def sigmas(steps: int, tokens: int) -> list[float]:
    """Shares of noise from 1 to 0, as the pipeline's scheduler has them for so many tokens."""
    low, high = SCHEDULER["base_image_seq_len"], SCHEDULER["max_image_seq_len"]
    slope = (SCHEDULER["max_shift"] - SCHEDULER["base_shift"]) / (high - low)
    shift = exp(SCHEDULER["base_shift"] + slope * (tokens - low))
    even = [1 - step * (1 - 1 / steps) / max(1, steps - 1) for step in range(steps)]
    return [shift / (shift + 1 / share - 1) for share in even] + [0.0]


@torch.no_grad()
def sample(transformer: Any, said: Said, height: int, width: int, steps: int) -> Tensor:
    """Latents of pictures for encoded prompts, from noise of torch's own seed."""
    rows, columns = height // PIXELS_A_TOKEN, width // PIXELS_A_TOKEN
    count, device = len(said.text), said.text.device
    tokens = torch.randn(count, rows * columns, 4 * LATENTS, device=device)
    grid = places(rows, columns, device)
    shares = sigmas(steps, rows * columns)
    for here, there in pairwise(shares):
        time = torch.full((count,), here, device=device)
        tokens = tokens + (there - here) * flow(transformer, tokens, said, time, grid).float()
    return unpacked(tokens, rows, columns)
