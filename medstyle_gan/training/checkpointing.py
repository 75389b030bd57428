"""When checkpoints are written: regularly, at the end, and when Ctrl-C or SIGTERM asks for it."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities.exceptions import SIGTERMException

from medstyle_gan.errors import UserError
from medstyle_gan.methods import CycleGAN
from medstyle_gan.methods.image_pool import merge_states
from medstyle_gan.training.checkpoint import save_checkpoint
from medstyle_gan.training.interruption import Interruption
from medstyle_gan.training.metrics_csv import MetricsCSV
from medstyle_gan.training.processes import gather_on_first
from medstyle_gan.training.run_folder import RunFolder
from medstyle_gan.training.throughput import Throughput
from medstyle_gan.training.validation import Validation


class Checkpointing(L.Callback):
    """Writes `checkpoints/last.ckpt` and `best.ckpt`, and restores the optimisers on resume.

    Must stand last among the callbacks: a checkpoint holds what the others did in its step.

    Args:
        run: the run's folder.
        every: steps between checkpoints.
        interruption: what notes Ctrl-C and SIGTERM.
        metrics: the interval under way is part of a checkpoint.
        validation: tells whether this step's score is the best so far; None without one.
        throughput: what clocks the training, stopped meanwhile.
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
        resumed: dict[str, Any] | None,
    ) -> None:
        self._run = run
        self._every = every
        self._interruption = interruption
        self._metrics = metrics
        self._validation = validation
        self._throughput = throughput
        self._resumed = resumed
        self._saved_step: int | None = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Restore what exists only once the training has begun."""
        self._interruption.claim()
        if self._resumed is None:
            return
        for optimizer, state in zip(trainer.optimizers, self._resumed["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        self._metrics.load_state_dict(self._resumed["metrics"])
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
        """Write what is due, and stop after the step in which the signal came."""
        assert isinstance(pl_module, CycleGAN)
        if self._validation is not None and self._validation.best_step == pl_module.step:
            self._save(trainer, pl_module, best=True)
        # A signal reaches some processes only, or at another step: all stop after the same one.
        stopping = self._interruption.shared()
        if pl_module.step % self._every == 0 or stopping:
            self._save(trainer, pl_module)
        if stopping:
            trainer.should_stop = True

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the end."""
        assert isinstance(pl_module, CycleGAN)
        if self._saved_step != pl_module.step:
            self._save(trainer, pl_module)

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Write the step that SIGTERM came after: Lightning leaves before the next one."""
        assert isinstance(pl_module, CycleGAN)
        if isinstance(exception, SIGTERMException) and self._saved_step != pl_module.step:
            self._save(trainer, pl_module)

    def _save(self, trainer: L.Trainer, method: CycleGAN, best: bool = False) -> None:
        pools = _pools_of_all(method)
        if not best:
            self._saved_step = method.step
        if pools is None:
            return
        with self._throughput.paused():
            self._refuse_diverged(method)
            save_checkpoint(
                self._run.best if best else self._run.last,
                method,
                trainer.optimizers,
                metrics=self._metrics.state_dict(),
                pools=pools,
                best=None if self._validation is None else self._validation.state_dict(),
            )

    def _refuse_diverged(self, method: CycleGAN) -> None:
        """Keep the last good checkpoint, and say what to do, where weights are not finite."""
        bad = [
            name
            for name, network in method.trained_networks().items()
            if not all(bool(torch.isfinite(p).all()) for p in network.parameters())
        ]
        if bad:
            kept = f"{self._run.last} is of an earlier step" if self._run.last.exists() else ""
            raise UserError(
                f"the training diverged before step {method.step}: {', '.join(bad)} hold NaN or "
                "infinite weights; nothing of this step was saved. Start a new run with smaller "
                "loss weights or learning rates (method.generator_learning_rate), with "
                f"method.gradient_clip=1 or training.precision=fp32. {kept}".rstrip()
            )


def _pools_of_all(method: CycleGAN) -> dict[str, Any] | None:
    """The images of all processes' pools, on the first process; None on the others."""
    ours = {
        domain: {"images": {p: x.cpu() for p, x in pool.state_dict()["images"].items()}}
        for domain, pool in method.pools.items()
    }
    everyones = gather_on_first(ours)
    if everyones is None:
        return None
    return {domain: merge_states(pools[domain] for pools in everyones) for domain in ours}
