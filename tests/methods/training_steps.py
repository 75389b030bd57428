"""A method driven for a few steps by the trainer of `medstyle train`."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from medstyle_gan.config import Config, load_config
from medstyle_gan.methods import METHODS, TrainedMethod
from medstyle_gan.training.trainer import make_trainer

Batch = dict[str, Tensor]
SMALL = ("generator.ngf=4", "generator.blocks=1", "discriminator.ndf=4", "discriminator.layers=1")
NO_VGG = (
    "loss.perceptual.weight=0",
    "loss.perceptual.reconstruction_weight=0",
    "loss.style.weight=0",
)


def settings(*overrides: str) -> Config:
    base = ["training.accelerator=cpu", "training.precision=fp32", "training.steps=20"]
    return load_config(None, [*SMALL, *base, *overrides])


def images(seed: int, count: int = 2, size: int = 16) -> Batch:
    rng = torch.Generator().manual_seed(seed)
    return {d: torch.rand(count, 1, size, size, generator=rng) * 2 - 1 for d in ("scan", "style")}


def snapshot(method: TrainedMethod, optimizers: Sequence[torch.optim.Optimizer]) -> dict[str, Any]:
    return copy.deepcopy(
        {
            "weights": method.state_dict(),
            "ema": method.ema.state_dict(),
            "optimizers": [o.state_dict()["state"] for o in optimizers],
        }
    )


class Watch(L.Callback):
    """What a method was like after each step; `each` is called then too."""

    def __init__(self, each: Callable[[TrainedMethod], None] = lambda method: None) -> None:
        self.snapshots: list[dict[str, Any]] = []
        self.gradients: list[dict[str, Tensor]] = []
        self.logged: list[dict[str, Tensor]] = []
        self._each = each

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        assert isinstance(pl_module, TrainedMethod)
        self.snapshots.append(snapshot(pl_module, trainer.optimizers))
        named = pl_module.named_parameters()
        self.gradients.append({n: p.grad.clone() for n, p in named if p.grad is not None})
        self.logged.append(dict(pl_module.logged))
        self._each(pl_module)


def fit(
    method: TrainedMethod,
    batches: Sequence[Batch],
    each: Callable[[TrainedMethod], None] = lambda m: None,
) -> Watch:
    watch = Watch(each)
    loader: DataLoader[Any] = DataLoader(list(batches), batch_size=None)  # type: ignore[arg-type]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning.*")
        make_trainer(method.config, "fp32", [watch], None).fit(method, train_dataloaders=loader)
    return watch


def made(config: Config, regularizer: Any = None) -> Any:
    torch.manual_seed(0)
    return METHODS[config.method.name](config, 1, 1, regularizer)
