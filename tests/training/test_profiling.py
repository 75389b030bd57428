from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch

from medstyle_gan.training.profiling import Profiling
from medstyle_gan.training.progress import TrainingProgress
from medstyle_gan.training.throughput import Throughput
from tests.training.dummy_method import DummyMethod, fit


class Marked(DummyMethod):
    """Each step is an event of its own in the trace."""

    def training_step(self, batch: dict[str, torch.Tensor], batch_index: int) -> None:
        with torch.profiler.record_function(f"step {self.step}"):
            super().training_step(batch, batch_index)


def profile(
    folder: Path, steps: int, start: int = 0, period: int = 4, fail_at: int | None = None
) -> tuple[Throughput, str]:
    stream, throughput = io.StringIO(), Throughput()
    callbacks = [throughput, Profiling(folder, steps, period, throughput)]
    method = Marked(start, fail_at)
    fit(method, steps, [*callbacks, TrainingProgress(steps, stream, throughput=throughput)])
    assert method.step == steps
    return throughput, stream.getvalue()


def profiled_steps(folder: Path) -> list[int]:
    trace = json.loads(gzip.decompress((folder / "trace.json.gz").read_bytes()))
    names = {event["name"] for event in trace["traceEvents"]}
    return sorted(int(name.split()[1]) for name in names if name.startswith("step "))


def outermost(events: Iterable[dict[str, Any]]) -> int:
    """How many of the events of one operation are not within another one (of that name)."""
    count, end = 0, 0.0
    for event in sorted(events, key=lambda event: float(event["ts"])):
        if event["ts"] >= end:
            count, end = count + 1, event["ts"] + event["dur"]
    return count


@pytest.mark.parametrize(
    ("start", "steps", "period", "first", "last"),
    [
        (0, 50, 4, 20, 40),
        (0, 50, 1, 20, 40),
        (0, 60, 8, 24, 48),  # whole periods: 3 of 8
        (103, 150, 4, 124, 144),  # resumed
        (0, 30, 4, 10, 30),  # too short for a whole warm-up
        (0, 7, 4, 0, 7),
        (98, 100, 4, 98, 100),
    ],
)
def test_window_is_whole_periods_after_a_warm_up(
    tmp_path: Path, start: int, steps: int, period: int, first: int, last: int
) -> None:
    profile(tmp_path, steps, start, period)
    assert profiled_steps(tmp_path) == list(range(first, last))
    figures = json.loads((tmp_path / "operations.json").read_text())
    assert (figures["first_step"], figures["steps"]) == (first, last - first)


def test_the_ten_costliest_operations_are_written_and_shown(tmp_path: Path) -> None:
    _, shown = profile(tmp_path, 50)
    operations = json.loads((tmp_path / "operations.json").read_text())["operations"]
    trace = json.loads(gzip.decompress((tmp_path / "trace.json.gz").read_bytes()))

    assert len(operations) == 10
    times = [operation["self_ms"] for operation in operations]
    assert times == sorted(times, reverse=True)
    assert 0 < sum(operation["share"] for operation in operations) <= 1
    # The trace is told by another part of torch: the same calls, counted there.
    for operation in operations:
        events = [event for event in trace["traceEvents"] if event["name"] == operation["name"]]
        assert operation["calls"] == outermost(event for event in events if event["ph"] == "X")
    table = (tmp_path / "operations.txt").read_text()
    assert table in shown
    assert all(operation["name"][:40] in table for operation in operations)


def test_no_path_stands_in_what_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "Canary^Patient"
    (tmp_path / "canary_tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "canary_tmp"))
    monkeypatch.setattr("tempfile.tempdir", None)
    profile(folder, 8)
    assert sorted(path.name for path in folder.iterdir()) == [
        "operations.json",
        "operations.txt",
        "trace.json.gz",
    ]
    for path in folder.iterdir():
        content = path.read_bytes()
        if path.suffix == ".gz":
            assert not content[3] & 0x08  # no name of a file in gzip's header
            content = gzip.decompress(content)
        assert b"canary" not in content.lower()
        assert b".py" not in content
        assert str(Path.home()).encode() not in content
    assert not any((tmp_path / "canary_tmp").iterdir())


def test_the_window_is_no_part_of_the_throughput(tmp_path: Path) -> None:
    now = [0.0]
    throughput = Throughput(lambda: now[0])
    profiling = Profiling(tmp_path, 60, 4, throughput)

    class Slow(Marked):
        def training_step(self, batch: dict[str, torch.Tensor], batch_index: int) -> None:
            now[0] += 100.0 if 20 <= self.step < 40 else 1.0
            super().training_step(batch, batch_index)

    fit(Slow(), 60, [throughput, profiling])
    assert throughput.measure()["samples_per_second"] == pytest.approx(1.0)
    assert throughput.totals[0] == pytest.approx(40.0)


def test_a_training_stopped_in_the_window_tells_what_was_seen(tmp_path: Path) -> None:
    class Stop(L.Callback):
        def on_train_batch_end(
            self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any
        ) -> None:
            trainer.should_stop = pl_module.step == 25

    throughput = Throughput()
    fit(Marked(), 50, [throughput, Profiling(tmp_path, 50, 4, throughput), Stop()])
    assert profiled_steps(tmp_path) == list(range(20, 25))


@pytest.mark.parametrize("fail_at", [10, 25])
def test_a_training_that_fails_leaves_no_profile_and_no_profiler(
    tmp_path: Path, fail_at: int
) -> None:
    with pytest.raises(RuntimeError, match="the training failed"):
        profile(tmp_path, 50, fail_at=fail_at)
    assert not any(tmp_path.iterdir())
    profile(tmp_path, 8)  # a profiler that was still on would refuse


@pytest.mark.gpu
def test_on_a_gpu_its_kernels_are_told() -> None:
    from medstyle_gan.training.profiling import costly_operations

    a = torch.randn(1024, 1024, device="cuda")
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profiler:
        for _ in range(5):
            a = a @ a
        torch.cuda.synchronize()
    operations = costly_operations(profiler, "cuda")
    assert operations[0].self_ms > 0
    assert operations[0].calls >= 5
