"""Part `data`: what a training waits for its samples, and what a cold cache costs."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L
from torch.utils.data import DataLoader

from bench.ours import StepClock, fit_quietly
from bench.settings import WITHOUT_VGG, bench_config
from medstyle_gan.config import Config
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
    return {
        "volumes": volumes,
        "steps": steps,
        "workers": config.data.workers,
        "cold_seconds_per_volume": round(cold / volumes, 4),
        "warm_seconds_per_volume": round(warm / volumes, 5),
        "blocked_ms_per_step": round(1e3 * blocked / steps, 3),
        "step_ms": round(1e3 * total / steps, 2),
        "ratios": [
            {
                "name": "blocked in next(loader), warm cache",
                "value": round(blocked / total, 4),
                "target": 0.05,
            }
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
    ]


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
