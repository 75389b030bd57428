"""A look inside a training's steps: torch's profiler over a short window, then on as usual."""

from __future__ import annotations

import gzip
import json
import re
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch.profiler import ProfilerActivity

from medstyle_gan.training.observed import observed
from medstyle_gan.training.throughput import Throughput
from medstyle_gan.volumes import atomic_file

_STEPS_BEFORE = 20  # the first steps make buffers, compile and fill caches
_STEPS = 20
_ROWS = 10


@dataclass(frozen=True)
class Operation:
    """One kind of operation in the window.

    Attributes:
        name: torch's.
        calls: how often it ran.
        self_ms: time of its own, without operations inside it (ms).
        share: of the self time of all operations, 0…1.
    """

    name: str
    calls: int
    self_ms: float
    share: float


class Profiling(L.Callback):
    """Profiles some steps: `trace.json.gz` for chrome://tracing, and the costliest operations.

    The window is whole periods long and begins after the warm-up; where the training has too
    few steps left, it takes what there is. It counts from the step that the process began
    with, so that a resumed training is looked at too. Its time is no part of the throughput.
    Must stand right after the clock among the callbacks. Only the first process looks.

    Args:
        folder: where `trace.json.gz`, `operations.txt` and `operations.json` go.
        steps: steps of the whole training.
        period: steps after which the kinds of steps repeat.
        throughput: what clocks the training, stopped meanwhile.
    """

    def __init__(self, folder: Path, steps: int, period: int, throughput: Throughput) -> None:
        self._folder = folder
        self._steps = steps
        self._period = period
        self._throughput = throughput
        self._first = self._last = -1
        self._profiler: torch.profiler.profile | None = None
        self._pause = ExitStack()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Choose the window; begin where there is no step to warm up with."""
        step = observed(pl_module).step
        length = -(-_STEPS // self._period) * self._period
        first = min(step + _STEPS_BEFORE, max(step, self._steps - length))
        aligned = -(-first // self._period) * self._period
        self._first = aligned if aligned + length <= self._steps else first
        self._last = min(self._first + length, self._steps)
        if step == self._first:
            self._begin(trainer, pl_module)

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Begin before the window's first step, end after its last."""
        step = observed(pl_module).step
        if step == self._first:
            self._begin(trainer, pl_module)
        elif step == self._last:
            self._end(trainer, pl_module)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Where the training was stopped in the window, write what was seen."""
        if observed(pl_module).step > self._first:
            self._end(trainer, pl_module)
        else:
            self._drop()

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Forget what was seen: the step was torn."""
        self._drop()

    def _begin(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._pause.enter_context(self._throughput.paused())
        if not trainer.is_global_zero:
            return
        activities = [ProfilerActivity.CPU]
        if pl_module.device.type == "cuda":
            activities.append(ProfilerActivity.CUDA)
        # Neither stacks nor modules: they would name files, and cost more than the steps.
        self._profiler = torch.profiler.profile(activities=activities)
        self._profiler.start()

    def _end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        profiler, self._profiler = self._profiler, None
        if profiler is not None:
            profiler.stop()
            steps = observed(pl_module).step - self._first
            self._write(trainer, profiler, steps, pl_module.device.type)
        self._pause.close()

    def _drop(self) -> None:
        if self._profiler is not None:
            self._profiler.stop()
            self._profiler = None
        self._pause.close()

    def _write(
        self, trainer: L.Trainer, profiler: torch.profiler.profile, steps: int, device: str
    ) -> None:
        operations = costly_operations(profiler, device)
        text = operations_table(operations, self._first, steps, device)
        figures = {
            "first_step": self._first,
            "steps": steps,
            "device": device,
            "operations": [asdict(operation) for operation in operations],
        }
        with atomic_file(self._folder / "operations.txt") as file:
            file.write(text.encode())
        with atomic_file(self._folder / "operations.json") as file:
            file.write((json.dumps(figures, indent=2) + "\n").encode())
        write_trace(profiler, self._folder / "trace.json.gz")
        if trainer.progress_bar_callback is not None:
            trainer.progress_bar_callback.print(text.rstrip("\n"))


def costly_operations(profiler: torch.profiler.profile, device: str) -> list[Operation]:
    """The ten operations that take most time of their own, costliest first.

    Args:
        profiler: stopped.
        device: `cuda` looks at the GPU's time, everything else at the CPU's.
    """
    kind = "self_device_time_total" if device == "cuda" else "self_cpu_time_total"
    averages = [(float(getattr(a, kind)), a) for a in profiler.key_averages()]  # µs
    total = sum(time for time, _ in averages) or 1.0
    averages.sort(key=lambda pair: -pair[0])
    return [
        Operation(str(a.key), int(a.count), round(time / 1e3, 3), round(time / total, 4))
        for time, a in averages[:_ROWS]
    ]


def operations_table(operations: Sequence[Operation], first: int, steps: int, device: str) -> str:
    """The operations as text, a line each."""
    width = min(60, max(len(operation.name) for operation in operations))
    lines = [
        f"costliest operations of steps {first + 1} to {first + steps}, {device} time of their own",
        f"{'':{width}}{'ms a step':>12}{'share':>8}{'calls a step':>14}",
    ]
    for operation in operations:
        lines.append(
            f"{operation.name[:width]:{width}}{operation.self_ms / steps:12.2f}"
            f"{operation.share:8.1%}{operation.calls / steps:14.1f}"
        )
    return "\n".join(lines) + "\n"


def write_trace(profiler: torch.profiler.profile, path: Path) -> None:
    """Write the events as a gzipped Chrome trace, which names no file and no folder.

    Raises:
        UserError: when the disk refuses it; nothing half is left.
    """
    with tempfile.TemporaryDirectory(prefix="medstyle-profile-") as folder:
        plain = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(plain))
        own_name = re.compile(rb'"traceName"\s*:\s*"[^"]*"')  # the file that it was written to
        with (
            plain.open("rb") as source,
            atomic_file(path) as file,
            gzip.GzipFile("", "wb", compresslevel=5, fileobj=file, mtime=0) as packed,
        ):
            for line in source:
                packed.write(own_name.sub(b'"traceName": "trace.json"', line))
