from __future__ import annotations

import csv
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch

from medstyle_gan.training.metrics_csv import MetricsCSV, MetricsTable, _of_all_processes
from medstyle_gan.training.throughput import FIGURES, Throughput
from tests.training.dummy_method import DummyMethod, fit

THROUGHPUT = set(FIGURES)


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def without_throughput(path: Path) -> list[dict[str, str]]:
    return [{k: v for k, v in row.items() if k not in THROUGHPUT} for row in read_rows(path)]


def make_metrics(path: Path, log_every: int, steps: int) -> list[L.Callback]:
    throughput = Throughput()
    return [throughput, MetricsCSV(path, log_every, steps, throughput)]


def test_row_holds_interval_means_and_latest_learning_rates(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    fit(DummyMethod(), 12, make_metrics(path, 6, 12))

    first, second = read_rows(path)

    assert (first["step"], second["step"]) == ("6", "12")
    assert float(first["loss/cycle_scan"]) == pytest.approx(3.5)  # mean of 1…6
    assert float(second["loss/cycle_scan"]) == pytest.approx(9.5)  # mean of 7…12
    assert float(first["loss/style_scan_to_style"]) == pytest.approx(400)  # step 4 alone
    assert float(second["loss/style_scan_to_style"]) == pytest.approx(1000)  # steps 8 and 12
    assert float(second["learning_rate/generator"]) == pytest.approx(1 / 12)
    assert float(first["samples_per_second"]) > 0
    assert 0 <= float(first["data_wait_share"]) <= 1
    assert float(first["peak_memory_mib"]) > 10


def test_columns_are_grouped_whatever_the_order_they_appear_in(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    fit(DummyMethod(), 4, make_metrics(path, 1, 4))  # the lazy loss appears in the fourth row

    assert [name for name in read_rows(path)[0] if name != "energy_joules"] == [
        "step",
        "loss/cycle_scan",
        "loss/discriminator_scan",
        "loss/discriminator_style",
        "loss/generator",
        "loss/style_scan_to_style",
        "learning_rate/discriminator",
        "learning_rate/generator",
        "samples_per_second",
        "data_wait_share",
        "peak_memory_mib",
    ]
    assert [row["loss/style_scan_to_style"] for row in read_rows(path)] == ["", "", "", "400"]


def test_shares_of_the_step_stand_with_the_throughput(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    names = ["validation/psnr", "step_share/vgg", "guard/skipped", "step_share/generators"]
    MetricsTable(path).write(1, dict.fromkeys([*names, "loss/generator", "energy_joules"], 0.0))

    assert list(read_rows(path)[0]) == [
        "step",
        "loss/generator",
        "step_share/generators",
        "step_share/vgg",
        "energy_joules",
        "guard/skipped",
        "validation/psnr",
    ]


def test_last_row_covers_the_steps_that_are_left(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    fit(DummyMethod(), 7, make_metrics(path, 5, 7))

    assert [row["step"] for row in read_rows(path)] == ["5", "7"]
    assert float(read_rows(path)[1]["loss/cycle_scan"]) == pytest.approx(6.5)


def test_every_row_is_on_disk_as_soon_as_its_step_is_done(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    seen = []

    class Look(L.Callback):
        def on_train_batch_end(self, *args: Any) -> None:
            seen.append(len(read_rows(path)) if path.exists() else 0)

    fit(DummyMethod(), 6, [*make_metrics(path, 2, 6), Look()])

    assert seen == [0, 1, 1, 2, 2, 3]


def test_failed_training_keeps_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    with pytest.raises(RuntimeError, match="the training failed"):
        fit(DummyMethod(fail_at=6), 10, make_metrics(path, 2, 10))

    assert [row["step"] for row in read_rows(path)] == ["2", "4"]


def test_resume_drops_later_rows_and_gives_the_table_that_would_have_been(tmp_path: Path) -> None:
    whole, resumed = tmp_path / "whole.csv", tmp_path / "resumed.csv"
    fit(DummyMethod(), 20, make_metrics(whole, 3, 20))

    callbacks = make_metrics(resumed, 3, 20)

    class Checkpoint(L.Callback):
        """Takes what a checkpoint of step 8 would hold: amid an interval."""

        state: dict[str, Any]

        def on_train_batch_end(
            self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any
        ) -> None:
            if pl_module.step == 8:
                self.state = callbacks[1].state_dict()

    checkpoint = Checkpoint()
    fit(DummyMethod(), 14, [*callbacks, checkpoint])  # interrupted at 14
    callbacks = make_metrics(resumed, 3, 20)
    callbacks[1].load_state_dict(checkpoint.state)
    fit(DummyMethod(start_step=8), 20, callbacks)

    assert [row["step"] for row in read_rows(resumed)] == ["3", "6", "9", "12", "15", "18", "20"]
    assert without_throughput(resumed) == without_throughput(whole)


class Together:
    """Two ranks' collectives, by threads."""

    def __init__(self) -> None:
        self.parts: list[torch.Tensor] = []
        self.barrier = threading.Barrier(2)

    def reduce(self, tensor: torch.Tensor, reduce_op: str) -> torch.Tensor:
        self.parts.append(tensor)
        self.barrier.wait(10)
        both = torch.stack(self.parts)
        self.barrier.wait(10)
        self.parts.clear()
        self.barrier.wait(10)
        return {"mean": both.mean(0), "sum": both.sum(0), "max": both.amax(0)}[reduce_op]


def test_figures_of_two_processes_become_one() -> None:
    trainer: Any = SimpleNamespace(strategy=Together(), world_size=2)
    common = {"samples_per_second": 3.0, "step_share/generators": 0.5}
    ranks = [
        {**common, "data_wait_share": 0.1, "peak_memory_mib": 500.0, "energy_joules": 7.0},
        {**common, "data_wait_share": 0.3, "peak_memory_mib": 900.0, "step_share/vgg": 0.1},
    ]
    with ThreadPoolExecutor(2) as pool:
        device = torch.device("cpu")
        first, second = pool.map(lambda f: _of_all_processes(f, trainer, device), ranks)

    assert first == second
    assert first == {
        **common,
        "data_wait_share": pytest.approx(0.2),
        "peak_memory_mib": 900.0,  # the fullest device decides
        "energy_joules": 7.0,  # counted by one process a machine
    }  # and not step_share/vgg, which only one of them knows


def test_validation_joins_the_row_of_its_step_or_makes_one(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    callbacks = make_metrics(path, 4, 12)
    metrics = callbacks[1]
    assert isinstance(metrics, MetricsCSV)

    class Validate(L.Callback):
        def on_train_batch_end(
            self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any
        ) -> None:
            if pl_module.step in (4, 6):
                metrics.log_validation(pl_module.step, {"validation/psnr": 20.0 + pl_module.step})

    fit(DummyMethod(), 12, [*callbacks, Validate()])
    rows = {row["step"]: row for row in read_rows(path)}

    assert list(rows) == ["4", "6", "8", "12"]
    assert rows["4"]["validation/psnr"] == "24"
    assert rows["4"]["loss/cycle_scan"] == "2.5"
    assert rows["6"]["validation/psnr"] == "26"
    assert rows["6"]["loss/cycle_scan"] == ""
    assert rows["12"]["validation/psnr"] == ""


def test_loggers_get_the_same_rows_by_our_steps(tmp_path: Path) -> None:
    class Memory(L.pytorch.loggers.logger.DummyLogger):
        def __init__(self) -> None:
            super().__init__()
            self.rows: list[tuple[int, dict[str, float]]] = []

        def log_metrics(self, metrics: Any, step: Any = None) -> None:
            self.rows.append((step, metrics))

    logger = Memory()
    path = tmp_path / "metrics.csv"
    fit(DummyMethod(), 6, make_metrics(path, 3, 6), logger=logger)

    assert [step for step, _ in logger.rows] == [3, 6]  # not Lightning's 6 and 12
    for (_, sent), written in zip(logger.rows, read_rows(path), strict=True):
        assert {k: float(v) for k, v in written.items() if k != "step" and v} == {
            k: pytest.approx(v, rel=1e-6) for k, v in sent.items()
        }


def test_failed_rewrite_leaves_the_table_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = MetricsTable(tmp_path / "metrics.csv")
    table.write(1, {"loss/generator": 1.0})
    before = table.path.read_text()

    def full_disk(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full_disk)
    with pytest.raises(Exception, match=r"metrics\.csv"):
        table.write(2, {"loss/a_new_term": 1.0})

    assert table.path.read_text() == before
    assert list(tmp_path.iterdir()) == [table.path]
