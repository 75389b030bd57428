"""When checkpoints are written: regularly, at the end, and when a training is interrupted."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch

from medstyle_gan.methods import CycleGAN
from medstyle_gan.training.checkpoint import save_checkpoint
from medstyle_gan.training.divergence import refuse_diverged
from medstyle_gan.training.guards import Guards
from medstyle_gan.training.interruption import Interruption
from medstyle_gan.training.metrics_csv import MetricsCSV
from medstyle_gan.training.run_folder import RunFolder
from medstyle_gan.training.throughput import Throughput
from medstyle_gan.training.validation import Validation


class Checkpointing(L.Callback):
    """Writes `checkpoints/last.ckpt` and `best.ckpt`, and restores the optimisers on resume.

    Must stand last among the callbacks: a checkpoint holds what the others did in its step.

    Args:
        run: the run's folder.
        every: steps between checkpoints.
        interruption: tells whether to stop after this step.
        metrics: the interval under way is part of a checkpoint.
        validation: tells whether this step's score is the best so far; None without one.
        throughput: what clocks the training, stopped meanwhile.
        guards: their state is part of a checkpoint.
        resumed: contents of the checkpoint that the run goes on from.
    """

    def __init__(
        self,
        run: RunFolder,
        every: int,
        interruption: Interruption,
        metrics: MetricsCSV,
        validation: Validation | None,
        throughput: Throughput,
        guards: Guards,
        resumed: dict[str, Any] | None,
    ) -> None:
        self._run = run
        self._every = every
        self._interruption = interruption
        self._metrics = metrics
        self._validation = validation
        self._throughput = throughput
        self._guards = guards
        self._resumed = resumed
        self._saved_step: int | None = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Restore what exists only once the training has begun."""
        if self._resumed is None:
            return
        for optimizer, state in zip(trainer.optimizers, self._resumed["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        self._metrics.load_state_dict(self._resumed["metrics"])
        if "guards" in self._resumed:  # not in checkpoints from before there were guards
            self._guards.load_state_dict(self._resumed["guards"])
        assert isinstance(pl_module, CycleGAN)
        for pool in pl_module.pools.values():
            pool.to(pl_module.device)
        torch.set_rng_state(self._resumed["torch_rng"])
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
        assert isinstance(pl_module, CycleGAN)
        if self._validation is not None and self._validation.best_step == pl_module.step:
            self._save(trainer, pl_module, best=True)
        if pl_module.step % self._every == 0 or self._interruption.requested:
            self._save(trainer, pl_module)
        if self._interruption.requested:
            trainer.should_stop = True

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the end."""
        assert isinstance(pl_module, CycleGAN)
        if self._saved_step != pl_module.step:
            self._save(trainer, pl_module)

    def _save(self, trainer: L.Trainer, method: CycleGAN, best: bool = False) -> None:
        if not trainer.is_global_zero:
            return
        with self._throughput.paused():
            refuse_diverged(method, self._run.last)
            save_checkpoint(
                self._run.best if best else self._run.last,
                method,
                trainer.optimizers,
                metrics=self._metrics.state_dict(),
                best=None if self._validation is None else self._validation.state_dict(),
                guards=self._guards.state_dict(),
            )
        if not best:
            self._saved_step = method.step
