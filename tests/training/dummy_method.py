"""A stand-in for a method: two optimisers, two tiny networks, the observers' interface."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset


class DummyMethod(L.LightningModule):
    """Its losses are known: at step s (from 1) `loss/cycle_scan` is s, and so on.

    `loss/style_scan_to_style` occurs at every fourth step only.
    """

    def __init__(self, start_step: int = 0, fail_at: int | None = None) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.generator = torch.nn.Conv2d(1, 1, 3, padding=1)
        self.discriminator = torch.nn.Conv2d(1, 1, 3)
        self.step = start_step
        self.fail_at = fail_at
        self.logged: dict[str, Tensor] = {}

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        networks = (self.generator, self.discriminator)
        return [torch.optim.SGD(network.parameters(), lr=1e-3) for network in networks]

    def training_step(self, batch: dict[str, Any], batch_index: int) -> None:
        optimizers = self.optimizers()
        assert isinstance(optimizers, list)
        translation = self.generator(batch["scan"])
        loss = translation.square().mean() + self.discriminator(translation).square().mean()
        self.manual_backward(loss)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        self.step += 1
        if self.step == self.fail_at:
            raise RuntimeError("the training failed")
        value = torch.tensor(float(self.step))
        self.logged = {
            "loss/generator": 10 * value,
            "loss/discriminator_scan": value,
            "loss/discriminator_style": 3 * value,
            "loss/cycle_scan": value,
            "learning_rate/generator": torch.tensor(1 / self.step),
            "learning_rate/discriminator": torch.tensor(2 / self.step),
        }
        if self.step % 4 == 0:
            self.logged["loss/style_scan_to_style"] = 100 * value

    def panel(self, batch: Mapping[str, Tensor]) -> dict[str, list[Tensor]]:
        stages = (1.0, -1.0, 0.5, 0.25)
        return {domain: [k * batch[domain] for k in stages] for domain in ("scan", "style")}


class Samples(Dataset[dict[str, Tensor]]):
    def __init__(self, length: int, read: Callable[[], None] = lambda: None) -> None:
        self.length = length
        self.read = read

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        self.read()
        image = torch.full((1, 8, 8), index / self.length)
        return {"scan": image, "style": -image}

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        return (self[i] for i in range(self.length))


def fit(
    method: DummyMethod,
    steps: int,
    callbacks: Sequence[L.Callback],
    logger: Any = False,
    batch_size: int = 1,
    read: Callable[[], None] = lambda: None,
) -> None:
    """Train up to a step that counts from the method's beginning, as `train` does it."""
    trainer = L.Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=1,
        callbacks=list(callbacks),
        logger=logger,
        enable_progress_bar=any(isinstance(c, L.pytorch.callbacks.ProgressBar) for c in callbacks),
        enable_checkpointing=False,
        enable_model_summary=False,
        barebones=False,
    )
    samples = Samples((steps - method.step) * batch_size, read)
    trainer.fit(method, DataLoader(samples, batch_size=batch_size))
