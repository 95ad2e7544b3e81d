"""Trains the demo model that sees, from scratch on a CPU: `python -m tests.demo_vision.train`.

Writes `workers/demo_model/kvmesh-demo-vision/`. The chat template in that folder is written by hand
and is read, not made. First the tower alone learns to tell what is where in a picture; then all
learns to talk, and the tower goes on with both. An hour of one core; the weights there were made in
several goes of it, each `--on-from` the last.
"""

import argparse
import time
from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear, mse_loss

from tests.demo_model.build_tokenizer import CONTROL, build_tokenizer
from tests.demo_model.hugging_face import load_tokenizer
from tests.demo_model.muon import Muon
from tests.demo_vision.dialogues import draw_dialogue
from tests.demo_vision.examples import (
    COLOUR_NAMES,
    SPARE,
    WHATS,
    Batch,
    Example,
    Examples,
    batch_of,
    picture_of,
    pictures_of,
)
from tests.demo_vision.model import (
    TOWER,
    VISION_CONTROL,
    VOCAB_SIZE,
    load,
    save,
    save_tokenizer,
    untrained,
)
from tests.demo_vision.scenes import any_scene
from workers.demo_model import demo_model_dir

MODEL_FOLDER = demo_model_dir().with_name("kvmesh-demo-vision")
BATCH_TOKENS = 2_048
TOWER_PICTURES = 64
POOL = 400
"""Examples drawn at once, to put those of like length together."""

TOWER_RATE = 0.4
"""The tower learns at this share of the rate once the language model learns from it."""

CHECKPOINT_S = 120
"""The model so far is saved as often."""


class Naming(nn.Module):
    """Tells from a token's embedding what has its centre there; only training needs it."""

    def __init__(self) -> None:
        super().__init__()
        width = TOWER["out_hidden_size"]
        assert isinstance(width, int)
        self.there = nn.Linear(width, 2)
        self.what = nn.Linear(width, len(WHATS))
        self.colour = nn.Linear(width, len(COLOUR_NAMES))
        self.where = nn.Linear(width, 2)
        for weight in self.parameters():  # so that it asks nothing of a tower before it knows
            nn.init.zeros_(weight)

    def loss(self, embeddings: Tensor, cells: Tensor) -> Tensor:
        """Of one batch's tokens, of shape [tokens, width] and [tokens, 4]."""
        held = cells[:, 0] != SPARE
        there = embeddings[held]
        return (
            cross_entropy(self.there(embeddings), held.long())
            + cross_entropy(self.what(there), cells[held, 0])
            + cross_entropy(self.colour(there), cells[held, 1])
            + 4 * mse_loss(self.where(there), cells[held, 2:] / 1000)
        )


def with_one_product(tower: Any) -> None:
    """Patches are embedded by the same sums as of the convolution, whose gradient takes longer on a
    CPU than the rest of the tower.
    """
    made = tower.patch_embed.proj
    tower.patch_embed.forward = lambda patches: linear(patches, made.weight.flatten(1), made.bias)


class Optimizer:
    """Muon for the matrices inside, Adam for all else; `rate` is the share of the peak."""

    def __init__(self, weights: Iterable[tuple[str, nn.Parameter]]) -> None:
        named = list(weights)
        matrices = [
            weight
            for name, weight in named
            if (weight.ndim == 2 and "embed" not in name) or "patch_embed.proj.weight" in name
        ]
        chosen = {id(weight) for weight in matrices}
        others = [weight for _, weight in named if id(weight) not in chosen]
        self.weights = [*matrices, *others]
        self.muon = Muon(matrices)
        self.adam = torch.optim.AdamW(others, lr=1.0, betas=(0.9, 0.98), weight_decay=0.0)

    def step(self, rate: float) -> None:
        self.muon.step(0.02 * rate)
        self.adam.param_groups[0]["lr"] = 0.003 * rate
        self.adam.step()
        for weight in self.weights:
            weight.grad = None


def embedded(naming: Naming) -> list[tuple[str, nn.Parameter]]:
    """The weights that name, for Adam."""
    return [("embed." + name, weight) for name, weight in naming.named_parameters()]


def share(step: int, steps: int) -> float:
    """Share of the peak learning rate: a short rise, a plateau, and a fall over the last half."""
    return min(1.0, (step + 1) / 20, 2 * (steps - step) / steps)


def batches(examples: Examples, rng: Random) -> Iterator[Batch]:
    """Without end; neighbours in length share a batch."""
    while True:
        pool = [examples.of(draw_dialogue(rng), rng) for _ in range(POOL)]
        pool.sort(key=lambda example: len(example.ids))
        groups: list[list[Example]] = [[]]
        for example in pool:
            if groups[-1] and (len(groups[-1]) + 1) * len(example.ids) > BATCH_TOKENS:
                groups.append([])
            groups[-1].append(example)
        rng.shuffle(groups)
        yield from (batch_of(group) for group in groups)


def losses(model: Any, naming: Naming, batch: Batch) -> tuple[Tensor, Tensor]:
    """Of the answers, and of what the tower makes of the pictures."""
    inner = model.model
    embeddings = inner.language_model.embed_tokens(batch.ids)
    told = torch.zeros(())
    seen = {}
    if len(batch.grids):
        mask = batch.ids == model.config.image_token_id
        out = inner.visual(batch.patches, grid_thw=batch.grids)
        embeddings = embeddings.masked_scatter(mask[..., None], out.pooler_output)
        seen = {"visual_pos_masks": mask, "deepstack_visual_embeds": out.deepstack_features}
        told = naming.loss(out.pooler_output, batch.cells)
    hidden = inner.language_model(
        inputs_embeds=embeddings, position_ids=batch.positions, use_cache=False, **seen
    ).last_hidden_state
    learned = batch.targets != SPARE
    return cross_entropy(model.lm_head(hidden[learned]), batch.targets[learned]), told


def train_tower(model: Any, naming: Naming, rng: Random, steps: int) -> None:
    """Pictures alone."""
    tower = model.model.visual
    used = [item for item in tower.named_parameters() if "deepstack" not in item[0]]
    optimizer = Optimizer([*used, *embedded(naming)])
    noise = np.random.default_rng(rng.randrange(1 << 30))
    running, started = 5.0, time.monotonic()
    for step in range(steps):
        scenes = [any_scene(rng) for _ in range(TOWER_PICTURES)]
        pictures = [picture_of(scene, noise if rng.random() < 0.5 else None) for scene in scenes]
        patches, grids, cells = pictures_of(pictures)
        loss = naming.loss(tower(patches, grid_thw=grids).pooler_output, cells)
        loss.backward()
        optimizer.step(share(step, steps))
        running += 0.05 * (loss.item() - running)
        if step % 20 == 0:
            _tell("tower", step, steps, started, running)


def train(
    model: Any, naming: Naming, made: Iterator[Batch], steps: int, keep: Callable[[Any], None]
) -> None:
    """All of it; `keep` is given a copy of the model now and then."""
    named = list(model.named_parameters())
    seeing = Optimizer([*(item for item in named if "visual." in item[0]), *embedded(naming)])
    talking = Optimizer(item for item in named if "visual." not in item[0])
    running, told_by, started = 7.0, 1.0, time.monotonic()
    kept = started
    for step, batch in zip(range(steps), made, strict=False):
        loss, told = losses(model, naming, batch)
        (loss + 0.3 * told).backward()
        seeing.step(TOWER_RATE * share(step, steps))
        talking.step(share(step, steps))
        running += 0.05 * (loss.item() - running)
        told_by += 0.05 * (told.item() - told_by)
        if step % 20 == 0:
            _tell("all", step, steps, started, running, told_by)
        if time.monotonic() - kept > CHECKPOINT_S:
            kept = time.monotonic()
            keep(deepcopy(model))


def _tell(phase: str, step: int, steps: int, started: float, *figures: float) -> None:
    told = " ".join(f"{figure:.4f}" for figure in figures)
    print(f"{phase} {step}/{steps} {told} after {time.monotonic() - started:.0f} s", flush=True)


def make_tokenizer(folder: Path, rng: Random) -> Any:
    """Trained on what is said and on the template's own words, and saved."""
    texts = [
        part["text"] if isinstance(part, dict) else part
        for dialogue in (draw_dialogue(rng) for _ in range(3_000))
        for message in dialogue.messages
        for part in (
            [message["content"]] if isinstance(message["content"], str) else message["content"]
        )
        if isinstance(part, str) or part["type"] == "text"
    ]
    template = (folder / "chat_template.jinja").read_text("utf-8")
    control = [*CONTROL, *VISION_CONTROL]
    save_tokenizer(build_tokenizer([*texts, *[template] * 20], VOCAB_SIZE, control), folder)
    return load_tokenizer(folder)


def begun(folder: Path, on_from: Path | None, rng: Random) -> tuple[Any, Any]:
    """Tokenizer and model, new or from a folder to go on from; their other files in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    copied = ["chat_template.jinja"]
    if on_from is not None:
        copied += ["tokenizer.json", "tokenizer_config.json"]
    for name in copied:
        content = ((on_from or MODEL_FOLDER) / name).read_bytes()
        (folder / name).write_bytes(content)
    tokenizer = make_tokenizer(folder, rng) if on_from is None else load_tokenizer(folder)
    model = untrained(tokenizer) if on_from is None else load(on_from, torch.float32)
    return tokenizer, model.train()


def main() -> None:
    """Builds the tokenizer, trains and saves."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--out", type=Path, default=MODEL_FOLDER)
    arguments.add_argument("--tower-steps", type=int, default=500)
    arguments.add_argument("--steps", type=int, default=2_000)
    arguments.add_argument("--on-from", type=Path, help="folder of a model to go on with")
    arguments.add_argument("--threads", type=int, default=1)
    arguments.add_argument("--seed", type=int, default=1)
    options = arguments.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    rng = Random(options.seed)
    tokenizer, model = begun(options.out, options.on_from, rng)
    naming = Naming()
    print(f"{sum(weight.numel() for weight in model.parameters()):,} parameters", flush=True)
    with_one_product(model.model.visual)
    train_tower(model, naming, rng, options.tower_steps)
    examples = Examples(tokenizer, options.seed)

    def keep(model: Any) -> None:
        save(model, tokenizer, options.out)

    train(model, naming, batches(examples, rng), options.steps, keep)
    keep(model)


if __name__ == "__main__":
    main()
