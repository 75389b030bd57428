"""Our training step, driven by Lightning as `medstyle train` drives it, a few steps at a time."""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from typing import Any

import lightning as L
from torch.utils.data import DataLoader

from bench.machine import synchronize
from bench.settings import bench_device
from bench.textbook import Batch
from medstyle_gan.config import Config
from medstyle_gan.methods import CycleGAN, TrainedMethod
from medstyle_gan.methods.vgg_regularizer import VGGRegularizer, collection_grams, wanted_layers
from medstyle_gan.methods.vgg_views import Views
from medstyle_gan.networks import VGG19Features
from medstyle_gan.networks.precision import resolve_precision
from medstyle_gan.training.trainer import make_trainer


class StepClock(L.Callback):
    """When each step ended, the device's work included; and when the first began."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """The first step is about to begin."""
        self.ends = [time.perf_counter()]

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """A step is done."""
        synchronize(pl_module.device)
        self.ends.append(time.perf_counter())


class Ours:
    """Our method under a Lightning trainer; its state goes on from run to run.

    Each run makes a trainer, and so new optimisers, as every `medstyle train` does: the
    first step of a run must not be counted.

    Args:
        name: in the table.
        config: all settings; VGG terms with a weight are made.
        batches: whose mean Gram matrices are the targets of the style term.
    """

    def __init__(self, name: str, config: Config, batches: Sequence[Batch]) -> None:
        self.name = name
        self.config = config
        L.seed_everything(config.training.seed, verbose=False)
        self.method = CycleGAN(config, 1, 1, _regularizer(config, batches))

    def run(self, batches: Sequence[Batch], warmup: int) -> list[float]:
        """Train on batches; the seconds of each step after the first `warmup`.

        A step lasts from the end of the one before it to its own: Lightning's loop counts.
        """
        clock = StepClock()
        loader: DataLoader[Any] = DataLoader(list(batches), batch_size=None)  # type: ignore[arg-type]
        fit_quietly(self.config, clock, self.method, train_dataloaders=loader)
        times = [after - before for before, after in zip(clock.ends, clock.ends[1:], strict=False)]
        return times[warmup:]


def fit_quietly(config: Config, clock: StepClock, method: TrainedMethod, **data: Any) -> None:
    """Fit a method with the trainer of `medstyle train`; `data` goes to Lightning's `fit`."""
    precision = resolve_precision(config.training.precision, bench_device(config))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning.*")
        make_trainer(config, precision, [clock], None).fit(method, **data)


def _regularizer(config: Config, batches: Sequence[Batch]) -> VGGRegularizer | None:
    layers = wanted_layers(config.loss)
    if not layers:
        return None
    vgg = VGG19Features(config.vgg.weights, layers)
    views = Views(config.vgg, config.training.seed, config.data.sample_slices)
    targets = {}
    if config.loss.style.weight and config.loss.style.target == "collection":
        images = {domain: batches[0][domain] for domain in ("scan", "style")}
        targets = collection_grams(vgg, [images], config.loss.style.layers, views)
    return VGGRegularizer(vgg, config.loss, targets, views)
