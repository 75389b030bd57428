"""When checkpoints are written: regularly, at the end, and when Ctrl-C or SIGTERM asks for it."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch

from medstyle_gan.methods import TrainedMethod
from medstyle_gan.training.checkpoint import (
    Circumstances,
    own_state,
    restore_own_state,
    training_state,
)
from medstyle_gan.training.divergence import refuse_diverged
from medstyle_gan.training.guards import Guards
from medstyle_gan.training.interruption import Interruption
from medstyle_gan.training.metrics_csv import MetricsCSV
from medstyle_gan.training.processes import gather_on_first
from medstyle_gan.training.run_folder import RunFolder
from medstyle_gan.training.throughput import Throughput
from medstyle_gan.training.validation import Validation


class Checkpointing(L.Callback):
    """Writes the run's checkpoints, and restores on resume what exists only in a training.

    Must stand last among the callbacks: a checkpoint holds what the others did in its step.
    All processes take part in each: every one has pools and generators of its own.

    Args:
        run: the run's folder.
        every: steps between checkpoints.
        keep: regular checkpoints to keep.
        interruption: tells whether to stop after this step.
        metrics: the interval under way is part of a checkpoint.
        validation: tells whether this step's score is the best so far; None without one.
        throughput: what clocks the training, stopped meanwhile.
        guards: their state is part of a checkpoint.
        circumstances: of the run, part of a checkpoint.
        resumed: contents of the checkpoint that the run goes on from.
    """

    def __init__(
        self,
        run: RunFolder,
        every: int,
        keep: int,
        interruption: Interruption,
        metrics: MetricsCSV,
        validation: Validation | None,
        throughput: Throughput,
        guards: Guards,
        circumstances: Circumstances,
        resumed: dict[str, Any] | None,
    ) -> None:
        self._run = run
        self._every = every
        self._keep = keep
        self._interruption = interruption
        self._metrics = metrics
        self._validation = validation
        self._throughput = throughput
        self._guards = guards
        self._circumstances = circumstances
        self._resumed = resumed
        self._saved_step: int | None = None
        self._indices = torch.empty(0)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Restore what exists only once the training has begun."""
        if self._resumed is None:
            return
        for optimizer, state in zip(trainer.optimizers, self._resumed["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        self._guards.load_state_dict(self._resumed["guards"])
        trainer.precision_plugin.load_state_dict(self._resumed["precision"])
        assert isinstance(pl_module, TrainedMethod)
        own = self._resumed["ranks"][trainer.global_rank]
        restore_own_state(pl_module, own)
        self._metrics.load_state_dict(own["metrics"])
        self._resumed = None

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Write what is due, and stop where all ranks have agreed to."""
        assert isinstance(pl_module, TrainedMethod)
        self._indices = batch["index"]
        best = self._validation is not None and self._validation.best_step == pl_module.step
        regular = pl_module.step % self._every == 0 or self._interruption.requested
        if best or regular:
            self._save(trainer, pl_module, regular, best)
        if self._interruption.requested:
            trainer.should_stop = True

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the end."""
        assert isinstance(pl_module, TrainedMethod)
        if self._saved_step != pl_module.step:
            self._save(trainer, pl_module)

    def _save(
        self, trainer: L.Trainer, method: TrainedMethod, regular: bool = True, best: bool = False
    ) -> None:
        with self._throughput.paused():
            samples = self._samples_drawn(trainer, method.step)
            ranks = gather_on_first(own_state(method, self._metrics.state_dict()))
            if ranks is not None:
                refuse_diverged(method, self._run.checkpoints.last)
                state = training_state(
                    method,
                    trainer.optimizers,
                    ranks,
                    best=None if self._validation is None else self._validation.state_dict(),
                    guards=self._guards.state_dict(),
                    precision=trainer.precision_plugin.state_dict(),
                    samples=samples,
                    circumstances=self._circumstances,
                )
                self._run.checkpoints.save(state, self._keep, regular, best)
        if regular:
            self._saved_step = method.step

    def _samples_drawn(self, trainer: L.Trainer, step: int) -> int:
        """Samples that all processes have drawn; a resumed run draws on from there."""
        count = len(self._indices) * trainer.world_size
        # The sampler is made anew from the step alone, so it must be where the step says.
        first = (step - 1) * count + trainer.global_rank * len(self._indices)
        assert int(self._indices[0]) == first, "the sampler is not where the step is"
        return step * count
