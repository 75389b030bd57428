"""The run's `metrics.csv`: one row an interval, whole after every row."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.loggers import Logger

from medstyle_gan.training.interval import IntervalMeans
from medstyle_gan.training.observed import observed
from medstyle_gan.training.throughput import ACROSS_PROCESSES, FIGURES, Throughput
from medstyle_gan.volumes import atomic_file

# Order of the columns: these names and groups (`…/`), each alphabetically; the rest comes last.
_GROUPS = ["step", "loss/", "learning_rate/", "samples_per_second", "data_wait_share"]
_GROUPS += ["step_share/", "peak_memory_mib", "energy_joules", "guard/", "validation/"]
LATEST = "learning_rate/"  # of these the latest value is written, of all else the mean


class MetricsTable:
    """A CSV file of rows by step.

    Args:
        path: The file; rows that stand there already are kept.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._rows: dict[int, dict[str, str]] = {}
        self._columns: list[str] = []
        if path.exists():
            with path.open(newline="") as file:
                reader = csv.DictReader(file)
                self._columns = list(reader.fieldnames or [])
                for row in reader:
                    self._rows[int(row["step"])] = {k: v for k, v in row.items() if v}

    def drop_after(self, step: int) -> None:
        """Forget rows of later steps: a resumed run makes them again."""
        kept = {s: row for s, row in self._rows.items() if s <= step}
        if len(kept) != len(self._rows):
            self._rows = kept
            self._rewrite()

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Add a row, or values to the row of that step; on return the file holds it.

        Raises:
            UserError: when the disk refuses it; the rows before stay whole.
        """
        row = {"step": str(step)} | {name: f"{value:.7g}" for name, value in values.items()}
        new_row = step not in self._rows
        self._rows.setdefault(step, {}).update(row)
        if new_row and row.keys() <= set(self._columns) and self.path.exists():
            self._append(self._format([self._rows[step]]))
        else:
            self._rewrite()

    def _append(self, line: str) -> None:
        size = self.path.stat().st_size
        try:
            # In one call, so that a reader never sees half a row.
            with self.path.open("a", newline="") as file:
                file.write(line)
        except OSError:  # a full disk: take back the half row; rewriting tells what is wrong
            os.truncate(self.path, size)
            self._rewrite()

    def _rewrite(self) -> None:
        names = {name for row in self._rows.values() for name in row} | {"step"}
        self._columns = sorted(names, key=_position)
        header = ",".join(self._columns) + "\n"
        text = header + self._format([self._rows[step] for step in sorted(self._rows)])
        with atomic_file(self.path) as file:
            file.write(text.encode())

    def _format(self, rows: Sequence[Mapping[str, str]]) -> str:
        text = io.StringIO()
        csv.DictWriter(text, self._columns, lineterminator="\n").writerows(rows)
        return text.getvalue()


class MetricsCSV(L.Callback):
    """Writes losses and throughput to `metrics.csv` and hands the same rows to the loggers.

    Losses are means over the interval, terms that occur in some steps only over those.
    Where the training ends between two rows, the last row covers what is left.

    Args:
        path: The CSV file.
        log_every: Steps between rows.
        steps: Steps of the whole training.
        throughput: What clocks the training.
        guards: What else a row takes, of the first rank alone; None for nothing.
    """

    def __init__(
        self,
        path: Path,
        log_every: int,
        steps: int,
        throughput: Throughput,
        guards: Callable[[], Mapping[str, float]] | None = None,
    ) -> None:
        self._path = path
        self._log_every = log_every
        self._steps = steps
        self._throughput = throughput
        self._guards = guards
        self._means = IntervalMeans()
        self._table: MetricsTable | None = None
        self._loggers: Sequence[Logger] = ()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Open the table; a resumed run loses the rows after its checkpoint."""
        if trainer.is_global_zero:
            self._table = MetricsTable(self._path)
            self._table.drop_after(observed(pl_module).step)
            self._loggers = trainer.loggers

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Collect the step, and write a row where one is due."""
        method = observed(pl_module)
        self._means.add({k: v for k, v in method.logged.items() if not k.startswith(LATEST)})
        if method.step % self._log_every == 0 or method.step == self._steps:
            self._write_interval(trainer, pl_module)

    def log_validation(self, step: int, values: Mapping[str, float]) -> None:
        """Put validation figures into the row of a step and on to the loggers.

        Args:
            step: The method's step.
            values: By column name, such as `validation/psnr`.
        """
        if self._table is not None:
            self._table.write(step, values)
            for logger in self._loggers:
                logger.log_metrics(dict(values), step)

    def state_dict(self) -> dict[str, Any]:
        """The interval under way: plain numbers."""
        return dict(self._means.state_dict())

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the interval that a checkpoint was written in."""
        self._means.load_state_dict(state_dict)

    def _write_interval(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        method = observed(pl_module)
        row = self._means.means()
        self._means.clear()
        figures = self._throughput.measure()
        if trainer.world_size > 1:  # each rank saw its own part of every batch
            row = _reduced(row, "mean", trainer, pl_module.device)
            figures = _of_all_processes(figures, trainer, pl_module.device)
        row |= {k: float(v) for k, v in method.logged.items() if k.startswith(LATEST)}
        row |= figures
        if self._guards is not None:
            row |= self._guards()
        if self._table is not None:
            with self._throughput.paused():
                self._table.write(method.step, row)
                for logger in self._loggers:
                    logger.log_metrics(row, method.step)


def _reduced(
    row: Mapping[str, float], how: str, trainer: L.Trainer, device: torch.device
) -> dict[str, float]:
    """A row whose names are the same on all ranks, reduced over them."""
    mine = torch.tensor(list(row.values()), device=device)
    together = trainer.strategy.reduce(mine, reduce_op=how)
    assert isinstance(together, torch.Tensor)
    return dict(zip(row, together.tolist(), strict=True))


def _of_all_processes(
    figures: Mapping[str, float], trainer: L.Trainer, device: torch.device
) -> dict[str, float]:
    """Throughput of all processes; a figure that not every process has is left out or partial.

    Which of them a process can tell may differ (a machine's energy is counted by one of its
    processes), but all must take part in the same reductions.
    """
    row: dict[str, float] = {}
    for how in ("mean", "max", "sum"):
        names = [n for n in FIGURES if ACROSS_PROCESSES.get(n, "mean") == how]
        known = _reduced({n: float(n in figures) for n in names}, "sum", trainer, device)
        values = _reduced({n: figures.get(n, 0.0) for n in names}, how, trainer, device)
        enough = 1 if how == "sum" else trainer.world_size
        row |= {name: values[name] for name in names if known[name] >= enough}
    return row


def _position(name: str) -> tuple[int, str]:
    group, slash, _ = name.partition("/")
    wanted = group + slash
    return _GROUPS.index(wanted) if wanted in _GROUPS else len(_GROUPS), name
