"""Steps of training within a given time, recorded as a CUDA graph and replayed where they can be.

A step of a model this small takes longer to be launched than to be computed.
"""

import time
from collections.abc import Callable, Iterator
from math import cos, pi
from typing import Any

import torch
from torch import Tensor

TOLD_S = 10
WARM_UP = 300
"""The learning rate rises in so many steps."""

TRIED = 3
"""Steps before one is recorded, as PyTorch asks for."""

Loss = Callable[[], Tensor]


class Course:
    """A Course is the time that a phase has: what is left of it sets the learning rate."""

    def __init__(self, seconds: float, peak: float, weights: list[Any], *, record: bool) -> None:
        self._seconds, self._peak, self._weights = seconds, peak, weights
        on_gpu = weights[0].device.type == "cuda"
        self.records = record and on_gpu
        rate = peak / WARM_UP
        self.optimizer = torch.optim.AdamW(
            weights,
            lr=torch.tensor(rate, device="cuda") if on_gpu else rate,
            betas=(0.9, 0.98),
            weight_decay=0.01,
            fused=on_gpu,
            capturable=on_gpu,
        )
        self._recorded: dict[str, tuple[Any, Tensor]] = {}
        self._started = self._told_at = time.monotonic()
        self._told_step = 0

    def steps(self) -> Iterator[int]:
        """Counts steps until the time is over."""
        step = 0
        while (gone := self.gone()) < 1:
            rate = self._peak * min(1.0, (step + 1) / WARM_UP)
            rate *= 1e-2 + 0.5 * (1 + cos(pi * gone))
            (group,) = self.optimizer.param_groups
            if isinstance(group["lr"], Tensor):  # which recorded steps look into
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate
            yield step
            step += 1

    def gone(self) -> float:
        """The share of the time that has passed."""
        return (time.monotonic() - self._started) / self._seconds

    def learn(self, loss: Loss, name: str) -> Tensor:
        """Takes one step of the optimizer; a step of this name is the same but for chance."""
        if not self.records:
            return self._step(loss)
        if name not in self._recorded:
            self._recorded[name] = self._recording(loss)
        graph, lost = self._recorded[name]
        graph.replay()
        return lost

    def tell(self, step: int, name: str, lost: Tensor) -> float | None:
        """Prints now and then how fast it goes and what is lost, and returns the latter."""
        now = time.monotonic()
        if now - self._told_at < TOLD_S:
            return None
        told = lost.item()
        speed = (step - self._told_step) / (now - self._told_at)
        print(f"{name} {step} ({speed:.1f}/s) loss {told:.4f} at {self.gone():.0%}", flush=True)
        self._told_at, self._told_step = now, step
        return told

    def _step(self, loss: Loss) -> Tensor:
        self.optimizer.zero_grad(set_to_none=True)
        lost = loss()
        lost.backward()
        torch.nn.utils.clip_grad_norm_(self._weights, 1.0)
        self.optimizer.step()
        return lost.detach()

    def _recording(self, loss: Loss) -> tuple[Any, Tensor]:
        """A graph of a step, and where it leaves the loss."""
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(TRIED):
                self._step(loss)
        torch.cuda.current_stream().wait_stream(aside)
        torch.cuda.synchronize()
        self.optimizer.zero_grad(set_to_none=True)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            lost = self._step(loss)
        return graph, lost
