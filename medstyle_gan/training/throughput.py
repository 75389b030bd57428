"""How fast a training runs, what its time goes into, and what memory and energy it takes."""

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

from medstyle_gan.methods.step_clock import StepClock
from medstyle_gan.training.energy import energy_reader
from medstyle_gan.training.observed import observed

MEBIBYTE = 2.0**20
# One period in so many is taken apart into its networks' shares.
_MEASURED_PERIODS = 4
STEP_PARTS = ("generators", "discriminators", "vgg")
FIGURES: tuple[str, ...] = (
    "samples_per_second",
    "data_wait_share",
    "peak_memory_mib",
    "energy_joules",
)
FIGURES += tuple(f"step_share/{part}" for part in STEP_PARTS)
# How a figure of several processes becomes one: each saw its own device.
ACROSS_PROCESSES = {"peak_memory_mib": "max", "energy_joules": "sum"}


class Throughput(L.Callback):
    """Clocks the training, less what is spent inside `paused`.

    Must stand first among the callbacks: time between the end of its `on_train_batch_end`
    and the start of the next batch counts as waiting for data.

    Args:
        clock: seconds, monotonic.
        period: steps after which the kinds of steps repeat; only whole periods are taken apart,
            so that terms that act every few steps count for what they are.
        energy: joules used so far, None where nothing tells; by default the device's own.

    Attributes:
        latest: of each figure the last that `measure` gave, and `watts`, the mean power.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.perf_counter,
        period: int = 1,
        energy: Callable[[], float | None] | None = None,
    ) -> None:
        self._clock = clock
        self._period = period
        self._given_energy = energy
        self._energy: Callable[[], float | None] = energy or (lambda: None)
        self._step_clock: StepClock | None = None
        self._device = torch.device("cpu")
        self._world_size = 1
        self.latest: dict[str, float] = {}
        self._pauses = 0
        self._total = self._total_waited = 0.0
        self._restart()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock."""
        self._device = pl_module.device
        self._world_size = trainer.world_size
        self._step_clock = getattr(observed(pl_module), "step_clock", None)
        self._energy = self._given_energy or energy_reader(self._device, trainer.local_rank)
        self._restart()

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """The batch is there: end of the wait."""
        if self._pauses:
            return
        self._waited += self._clock() - self._step_ended - self._paused_since_step
        self._samples += len(batch["scan"]) * self._world_size
        measured = observed(pl_module).step // self._period % _MEASURED_PERIODS == 0
        if self._step_clock is not None and measured:
            self._step_clock.start(self._device)

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """The step is done: the wait for the next batch begins."""
        if self._step_clock is not None:
            self._step_clock.stop()
        if self._pauses:
            return
        self._step_ended = self._clock()
        self._paused_since_step = 0.0

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave out what happens inside: validation, panels, checkpoints, rows of metrics."""
        if self._pauses == 0:
            self._synchronize()  # steps still under way on the device belong to the training
            self._pause_began, self._energy_at_pause = self._clock(), self._energy()
        self._pauses += 1
        try:
            yield
        finally:
            self._pauses -= 1
            if self._pauses == 0:
                self._leave_out()

    @property
    def totals(self) -> tuple[float, float]:
        """Seconds of training so far, without pauses, and those of them without a batch."""
        elapsed = self._clock() - self._began - self._paused
        return self._total + elapsed, self._total_waited + self._waited

    def measure(self) -> dict[str, float]:
        """Figures since the last call (or the start), and begin the next interval.

        Returns:
            `samples_per_second`: samples of each domain, over all devices.
            `data_wait_share`: share of the time without a batch to work on, 0…1.
            `step_share/…`: share of the measured steps' time that goes into the generators, the
            discriminators and VGG-19, forward and backward; optimisers and the loop are the rest.
            `peak_memory_mib`: largest memory of this process since it began (MiB): allocated
            tensors on a CUDA device, resident memory otherwise.
            `energy_joules`: what the device (a CPU: the whole machine's packages) used.
            A figure that nothing tells of is missing.
        """
        self._synchronize()
        if self._pauses:
            self._leave_out()
            self._pause_began, self._energy_at_pause = self._clock(), self._energy()
        elapsed = self._clock() - self._began - self._paused
        self._total += max(elapsed, 0.0)
        self._total_waited += self._waited
        figures = {"peak_memory_mib": peak_memory_mib(self._device)}
        if elapsed > 1e-6 and self._samples:  # else all steps of the interval were paused
            figures["samples_per_second"] = self._samples / elapsed
            figures["data_wait_share"] = min(max(self._waited / elapsed, 0.0), 1.0)
        figures |= self._step_shares()
        energy = self._energy()
        if energy is not None and self._energy_began is not None:
            figures["energy_joules"] = energy - self._energy_began - self._energy_paused
        self.latest |= figures
        if "energy_joules" in figures and elapsed > 1e-6:
            self.latest["watts"] = figures["energy_joules"] / elapsed
        self._restart()
        return figures

    def _step_shares(self) -> dict[str, float]:
        seconds = {} if self._step_clock is None else self._step_clock.seconds()
        total = sum(seconds.values())
        if not total:
            return {}
        return {f"step_share/{part}": seconds.get(part, 0.0) / total for part in STEP_PARTS}

    def _leave_out(self) -> None:
        """The pause up to now is no part of the training."""
        length = self._clock() - self._pause_began
        self._paused += length
        self._paused_since_step += length
        energy = self._energy()
        if energy is not None and self._energy_at_pause is not None:
            self._energy_paused += energy - self._energy_at_pause

    def _restart(self) -> None:
        self._began = self._step_ended = self._pause_began = self._clock()
        self._waited = self._paused = self._paused_since_step = 0.0
        self._samples = 0
        self._energy_began = self._energy_at_pause = self._energy()
        self._energy_paused = 0.0

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
