"""The chapter *efficiency*: time and memory of a volume, size of the model, cost of training."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from medstyle_gan.data.words import DOMAINS
from medstyle_gan.evaluation.candidates import Remembering, forget_bodies
from medstyle_gan.evaluation.chapter import (
    TRANSLATION,
    Array,
    Candidate,
    Chapter,
    Figure,
    Mask,
    Subject,
)
from medstyle_gan.evaluation.context import EvaluationContext

_STATM = Path("/proc/self/statm")
_GIBIBYTE = 2.0**30
_SAMPLED_EVERY = 0.01  # s
_TIMED = 3  # subjects


def run(
    subjects: Sequence[Subject], candidates: Mapping[str, Candidate], context: EvaluationContext
) -> Chapter:
    """Times candidates on the first three subjects and sums up what the training took.

    Args:
        subjects: at least one.
        candidates: by name.
        context: its `parameters` and `metrics` are used.
    """
    figures: list[Figure] = []
    notes = [
        "Seconds and peak memory are of one volume on the network's grid, in memory before and "
        f"after, on this machine ({_device(context)}); peak memory is that of the whole process."
    ]
    if len(subjects) > _TIMED:
        notes.append(f"Timed on the first {_TIMED} subjects.")
    for subject in subjects[:_TIMED]:
        for name, candidate in candidates.items():
            seconds, memory = _measured(candidate, subject, context)
            voxels = subject.scan.size / 1e6
            figures.append(Figure("seconds", name, seconds, "s", "lower", subject.name))
            per = Figure(
                "seconds_per_megavoxel", name, seconds / voxels, "s", "lower", subject.name
            )
            figures.append(per)
            if memory is not None and name == TRANSLATION:
                figures.append(Figure("peak_memory", name, memory, "GiB", "lower", subject.name))
    if not any(figure.name == "peak_memory" for figure in figures):
        notes.append("Peak memory is left out: this system does not tell it.")
    for direction in DOMAINS:
        if direction in context.parameters:
            count = float(context.parameters[direction])
            of = {"direction": direction}
            figures.append(Figure("parameters", TRANSLATION, count, "", "lower", None, of))
    costs = training_costs(context)
    figures += costs
    if not costs:
        notes.append("The cost of training is not known: the model is no run with a metrics.csv.")
    return Chapter("efficiency", tuple(figures), notes=tuple(notes))


def training_costs(context: EvaluationContext) -> list[Figure]:
    """What the run took: steps, hours, peak memory and energy, of those that it recorded.

    Args:
        context: rows of `metrics.csv`; each says how fast the steps since the row before were.
    """
    rows = sorted(
        (row for row in context.metrics if "samples_per_second" in row), key=lambda r: r["step"]
    )
    if not rows:
        return []
    batch, seconds, before = context.config.training.batch_size, 0.0, 0.0
    for row in rows:
        seconds += (row["step"] - before) * batch / row["samples_per_second"]
        before = row["step"]
    costs = [
        Figure("training_steps", TRANSLATION, before),
        Figure("training_hours", TRANSLATION, seconds / 3600, "h", "lower"),
    ]
    if memory := [row["peak_memory_mib"] for row in rows if "peak_memory_mib" in row]:
        costs.append(
            Figure("training_peak_memory", TRANSLATION, max(memory) / 1024, "GiB", "lower")
        )
    if energy := [row["energy_joules"] for row in rows if "energy_joules" in row]:
        costs.append(Figure("training_energy", TRANSLATION, sum(energy) / 3.6e6, "kWh", "lower"))
    return costs


def _device(context: EvaluationContext) -> str:
    device = torch.device("cpu") if context.translator is None else context.translator.device
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.get_num_threads()} threads"


def _measured(
    candidate: Candidate, subject: Subject, context: EvaluationContext
) -> tuple[float, float | None]:
    """Seconds of one call, and the memory at its highest (GiB)."""
    forget_bodies()
    call = candidate.candidate if isinstance(candidate, Remembering) else candidate
    device = None if context.translator is None else context.translator.device
    if device is not None and device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        seconds = _timed(call, subject.scan, subject.mask, device)
        return seconds, torch.cuda.max_memory_allocated(device) / _GIBIBYTE
    if not _STATM.exists():
        return _timed(call, subject.scan, subject.mask, None), None
    with _ResidentMemory() as memory:
        seconds = _timed(call, subject.scan, subject.mask, None)
    return seconds, memory.peak / _GIBIBYTE


def _timed(call: Candidate, scan: Array, mask: Mask, device: torch.device | None) -> float:
    began = time.perf_counter()
    call(scan, mask)
    if device is not None:
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


class _ResidentMemory:
    """The largest resident memory of this process while the block runs (bytes)."""

    def __init__(self) -> None:
        self.peak = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> _ResidentMemory:
        self._look()
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()
        self._look()

    def _watch(self) -> None:
        while not self._over.wait(_SAMPLED_EVERY):
            self._look()

    def _look(self) -> None:
        pages = int(_STATM.read_text().split()[1])
        self.peak = max(self.peak, pages * _page_size())


def _page_size() -> int:
    import resource

    return resource.getpagesize()
