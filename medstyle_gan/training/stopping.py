"""All ranks stop after the same step, whichever of them a signal or the clock reached."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import lightning as L

from medstyle_gan.training.interruption import Interruption, Reason
from medstyle_gan.training.processes import largest

# Asking all ranks makes each wait for the slowest, so it is done about once in this time (s).
_SECONDS_BETWEEN = 1.0
_MOST_STEPS_BETWEEN = 50


class Stopping(L.Callback):
    """Lets all ranks agree, once a second or so, on whether to stop; alone, after every step.

    Must stand before the checkpoint among the callbacks, which is written where they agree.

    Args:
        interruption: what this process has noted; gets what all have agreed on.
        clock: seconds, monotonic.
    """

    def __init__(
        self, interruption: Interruption, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._interruption = interruption
        self._clock = clock
        self._steps_left = self._steps = 1
        self._asked = clock()

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Agree where it is due."""
        if trainer.world_size == 1:
            self._interruption.reason = self._interruption.noted
            return
        self._steps_left -= 1
        if self._steps_left == 0:
            self._agree(trainer.is_global_zero)

    def _agree(self, first: bool) -> None:
        noted = self._interruption.noted
        if noted is Reason.TIME_IS_OVER and not first:
            noted = Reason.NONE  # the clock of the first rank counts
        # Every rank must ask after the same step: the first one's clock tells them when.
        self._steps = largest(self._steps_between() if first else 0)
        self._interruption.reason = Reason(largest(noted))
        self._steps_left = self._steps
        self._asked = self._clock()

    def _steps_between(self) -> int:
        step_time = max(self._clock() - self._asked, 1e-9) / self._steps
        return min(max(int(_SECONDS_BETWEEN / step_time), 1), _MOST_STEPS_BETWEEN)


def keep_signals_ours(trainer: L.Trainer) -> None:
    """Keep Lightning's hands off signals; `Interruption` and `Stopping` see to them.

    Lightning's SIGTERM handler broadcasts from inside the handler, in the midst of whatever
    collective the rank is in, and asks all ranks (and makes the host wait for the GPU) before
    every batch; under SLURM its SIGUSR1 handler requeues the job from a checkpoint of its own.
    """
    connector: Any = trainer._signal_connector
    connector.register_signal_handlers = _nothing
    loop: Any = trainer.fit_loop.epoch_loop
    loop._broadcast_sigterm_tensor = _nothing


def _nothing() -> None:
    pass
