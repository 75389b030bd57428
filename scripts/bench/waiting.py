"""Part `data`: what a training waits for its samples, and what reading and starting cost."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
from torch.utils.data import DataLoader

from bench.fresh_process import run_program
from bench.ours import StepClock, fit_quietly
from bench.settings import WITHOUT_VGG, bench_config
from medstyle_gan.config import Config, dump_config
from medstyle_gan.data.datamodule import UnpairedDataModule
from medstyle_gan.data.phantom import write_phantom_collections
from medstyle_gan.methods import CycleGAN

_IN_PLANE = 190.0  # mm that a sample shows of a phantom's 204
_SHAPE, _QUICK_SHAPE = (96, 96, 24), (32, 32, 8)


class TimedLoader:
    """A loader that notes when its caller began to wait for a batch, and when it came."""

    def __init__(self, loader: DataLoader[dict[str, Any]]) -> None:
        self._loader = loader
        self.waits: list[tuple[float, float]] = []

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        batches = iter(self._loader)
        while True:
            began = time.perf_counter()
            try:
                batch = next(batches)
            except StopIteration:
                return
            self.waits.append((began, time.perf_counter()))
            yield batch


class TimedData(UnpairedDataModule):
    """The product's own data, behind a timed loader."""

    timed: TimedLoader

    def train_dataloader(self) -> Any:
        """The product's loader, timed."""
        self.timed = TimedLoader(super().train_dataloader())
        return self.timed


def measure_waiting(
    overrides: Sequence[str], quick: bool, steps: int, say: Callable[[str], None]
) -> dict[str, Any]:
    """Share of a real training that is blocked in `next(loader)`, after the cache is built.

    Args:
        overrides: the user's `key.path=value`.
        quick: sizes of a smoke test.
        steps: counted steps, after a few to warm up.
        say: takes a line of progress.

    Returns:
        What was measured, for the table and for JSON.
    """
    warmup = 2 if quick else 10
    with tempfile.TemporaryDirectory(prefix="medstyle-bench-") as folder:
        options = phantom_options(overrides, quick, Path(folder), 2 if quick else 6)
        config = bench_config(
            [*overrides, *WITHOUT_VGG], quick, options | {"training.steps": warmup + steps}
        )
        say("data: building the cache")
        cold = _seconds(TimedData(config).prepare_data)
        data = TimedData(config)
        warm = _seconds(data.prepare_data)
        data.setup()
        volumes = sum(
            len(part)
            for part in (data.scan, data.style, data.validation_scan, data.validation_style)
            if part is not None
        )
        say(f"data: {warmup + steps} steps")
        blocked, total = _train(config, data, warmup)
        trained = 2 * config.training.batch_size * steps / total  # slices of both domains
        say("data: random reads")
        read = read_rate(data, 100 if quick else 5_000)
        starts = {}
        for name, without in (("VGG", ()), ("no VGG", WITHOUT_VGG)):
            say(f"data: the start of a training from the cache, {name}")
            starts[name] = _start([*overrides, *without], quick, options, Path(folder))
    return {
        "volumes": volumes,
        "steps": steps,
        "workers": config.data.workers,
        "cold_seconds_per_volume": round(cold / volumes, 4),
        "warm_seconds_per_volume": round(warm / volumes, 5),
        "blocked_ms_per_step": round(1e3 * blocked / steps, 3),
        "step_ms": round(1e3 * total / steps, 2),
        "slices_read_per_second": round(read, 1),
        "slices_trained_per_second": round(trained, 2),
        "first_step_seconds": starts,
        "ratios": [
            {
                "name": "blocked in next(loader), warm cache",
                "value": round(blocked / total, 4),
                "target": 0.05,
            },
            {
                "name": "random slice reads / slices trained on",
                "value": round(read / trained, 1),
                "target": 50,
                "at_least": True,
            },
            {
                "name": "imports to the first step, s, with VGG",
                "value": starts["VGG"],
                "target": 3.0,
            },
        ],
        "share_with_cold_cache": round((blocked + cold) / (total + cold), 4),
    }


def phantom_options(
    overrides: Sequence[str], quick: bool, folder: Path, subjects: int
) -> dict[str, object]:
    """Writes phantoms, `subjects` of each domain, and gives the settings that use them."""
    folders = write_phantom_collections(
        folder / "phantoms", subjects, pairs=0, shape=_QUICK_SHAPE if quick else _SHAPE
    )
    spacing = _IN_PLANE / max(bench_config(overrides, quick).data.sample_size)
    return {
        "data.scans": str(folders.scans),
        "data.style": str(folders.style),
        "data.spacing": [spacing, spacing, None],
        "data.cache.folder": str(folder / "cache"),
    }


def waiting_lines(result: Mapping[str, Any]) -> list[str]:
    """The result as lines to print."""
    return [
        f"data ({result['steps']} steps of ours without VGG, {result['workers']} loader processes)",
        f"  cache of {result['volumes']} volumes: {result['cold_seconds_per_volume']:.3f} s a "
        f"volume when cold, {result['warm_seconds_per_volume']:.4f} s when warm",
        f"  blocked {result['blocked_ms_per_step']:.2f} ms of {result['step_ms']:.1f} ms a step; "
        f"{result['share_with_cold_cache']:.1%} of the time with the building of the cache",
        f"  {result['slices_read_per_second']:.0f} slices/s read at random, "
        f"{result['slices_trained_per_second']:.1f} slices/s trained on",
        "  first step after the imports, in a fresh process: "
        + ", ".join(f"{name} {s:.2f} s" for name, s in result["first_step_seconds"].items()),
    ]


def read_rate(data: UnpairedDataModule, count: int) -> float:
    """Slices a second that are read from the cache, each from a random volume and place."""
    rng = np.random.default_rng(0)
    volumes = [*data.scan, *data.style]
    chosen = [volumes[i] for i in rng.integers(len(volumes), size=count)]
    places = [int(rng.integers(len(volume))) for volume in chosen]

    def read() -> None:
        for volume, place in zip(chosen, places, strict=True):
            volume.read(place)

    return count / _seconds(read)


def _start(
    overrides: Sequence[str], quick: bool, options: Mapping[str, object], folder: Path
) -> float:
    """Median seconds from the imports to the first step, over a few fresh processes."""
    config = folder / "start.yaml"
    config.write_text(dump_config(bench_config(overrides, quick, options)))
    seconds = []
    for attempt in range(1 if quick else 3):
        # The run's folder must be new.
        with tempfile.TemporaryDirectory(dir=folder) as parent:
            run = Path(parent) / f"run{attempt}"
            seconds.append(run_program("first_step.py", config, run)["seconds"])
    return statistics.median(seconds)


def _train(config: Config, data: TimedData, warmup: int) -> tuple[float, float]:
    """Seconds blocked in `next`, and in all, from the end of the last warm-up step."""
    clock = StepClock()
    L.seed_everything(config.training.seed, verbose=False)
    method = CycleGAN(config, data.scan.channels, data.style.channels)
    fit_quietly(config, clock, method, datamodule=data)
    began, ended = clock.ends[warmup], clock.ends[-1]
    blocked = sum(
        max(0.0, min(came, ended) - max(asked, began)) for asked, came in data.timed.waits
    )
    return blocked, ended - began


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
