"""How fast a training runs, how long it waits for data, and how much memory it takes."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning as L
import torch

MEBIBYTE = 2.0**20


class Throughput(L.Callback):
    """Clocks the training, less what is spent inside `paused`.

    Must stand first among the callbacks: time between the end of its `on_train_batch_end`
    and the start of the next batch counts as waiting for data.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._device = torch.device("cpu")
        self._world_size = 1
        self._pauses = 0
        self._restart()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock."""
        self._device = pl_module.device
        self._world_size = trainer.world_size
        self._restart()

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """The batch is there: end of the wait."""
        self._waited += self._clock() - self._step_ended - self._paused_since_step
        self._samples += len(batch["scan"]) * self._world_size

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """The step is done: the wait for the next batch begins."""
        self._step_ended = self._clock()
        self._paused_since_step = 0.0

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave out what happens inside: validation, panels, checkpoints, rows of metrics."""
        if self._pauses == 0:
            self._synchronize()  # steps still under way on the device belong to the training
            self._pause_began = self._clock()
        self._pauses += 1
        try:
            yield
        finally:
            self._pauses -= 1
            if self._pauses == 0:
                length = self._clock() - self._pause_began
                self._paused += length
                self._paused_since_step += length

    def measure(self) -> dict[str, float]:
        """Figures since the last call (or the start), and begin the next interval.

        Returns:
            `samples_per_second`: samples of each domain, over all devices.
            `data_wait_share`: share of the time without a batch to work on, 0…1.
            `peak_memory_mib`: largest memory of this process since it began (MiB): allocated
            tensors on a CUDA device, resident memory otherwise.
        """
        self._synchronize()
        elapsed = max(self._clock() - self._began - self._paused, 1e-9)
        figures = {
            "samples_per_second": self._samples / elapsed,
            "data_wait_share": min(max(self._waited / elapsed, 0.0), 1.0),
            "peak_memory_mib": peak_memory_mib(self._device),
        }
        self._restart()
        return figures

    def _restart(self) -> None:
        self._began = self._step_ended = self._pause_began = self._clock()
        self._waited = self._paused = self._paused_since_step = 0.0
        self._samples = 0

    def _synchronize(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)


def peak_memory_mib(device: torch.device) -> float:
    """Largest memory of this process since it began (MiB), on a GPU that of its tensors."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / MEBIBYTE
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    for line in lines:
        if line.startswith("VmHWM:"):
            return float(line.split()[1]) * 1024 / MEBIBYTE
    # Elsewhere; on Linux it would include the program's parent as it was at the start.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024) / MEBIBYTE  # bytes there, KiB else
