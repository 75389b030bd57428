"""Seconds, memory and size of an evaluation of one pair, and what a second worker brings."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.fresh_process import run_program
from bench.scaling import TARGET, distinct_cores
from bench.settings import WITHOUT_VGG, bench_config
from medstyle_gan.cli.evaluate import threads_beside
from medstyle_gan.data.phantom import PhantomFolders, write_phantom_collections
from medstyle_gan.errors import UserError
from medstyle_gan.training import train

_STYLE_VOLUMES = 4
_QUICK = "fidelity,robustness"  # chapters of a smoke test
_TARGETS = {
    "seconds of all chapters but robustness, beside translation": 90.0,
    "seconds of robustness, beside translation": 300.0,
    "peak GiB": 4.0,
    "MiB of the page": 15.0,
}


def measure_one_pair(
    overrides: Sequence[str],
    quick: bool,
    shape: tuple[int, int, int],
    steps: int,
    rounds: int,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """All chapters on one pair, in a fresh process each round, on all cores.

    Args:
        overrides: the user's `key.path=value`, of the model that is trained for it.
        quick: sizes of a smoke test.
        shape: (X, Y, Z) of the pair and of the collections.
        steps: of that training.
        rounds: how often; the medians count.
        say: takes a line of progress.
    """
    turns = []
    with tempfile.TemporaryDirectory(prefix="medstyle-bench-") as folder:
        model, phantoms = _trained(overrides, quick, shape, 1, steps, Path(folder), say)
        for number in range(rounds):
            say(f"one pair: all chapters, round {number + 1} of {rounds}")
            out = Path(folder) / f"report{number}"
            turns.append(_evaluated(model, phantoms, out, _QUICK if quick else ""))
    seconds = {
        name: statistics.median(
            turn["seconds"][name] - turn["translating"].get(name, 0.0) for turn in turns
        )
        for name in turns[0]["seconds"]
    }
    translating = {
        name: statistics.median(turn["translating"].get(name, 0.0) for turn in turns)
        for name in seconds
    }
    values = (
        sum(value for name, value in seconds.items() if name != "robustness"),
        seconds["robustness"],
        max(turn["peak_mib"] for turn in turns) / 1024,
        max(turn["page_mib"] for turn in turns),
    )
    return {
        "shape": list(shape),
        "threads": turns[0]["threads"],
        "rounds": rounds,
        "seconds": seconds,
        "translating": translating,
        "ratios": [
            {"name": name, "value": round(value, 3), "target": target}
            for (name, target), value in zip(_TARGETS.items(), values, strict=True)
        ],
    }


def measure_workers(
    overrides: Sequence[str],
    quick: bool,
    shape: tuple[int, int, int],
    subjects: int,
    steps: int,
    rounds: int,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """One worker on one core against two on two, over many subjects.

    Args:
        overrides: see `measure_one_pair`.
        quick: likewise.
        shape: (X, Y, Z) of the pairs.
        subjects: pairs.
        steps: see `measure_one_pair`.
        rounds: turns of each; the ratio is that of the medians.
        say: takes a line of progress.

    Raises:
        UserError: there are not two cores to compare.
    """
    cores = distinct_cores()[:2]
    if len(cores) < 2:
        raise UserError("the part workers compares one core with two; leave it out")
    seconds: dict[int, list[float]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory(prefix="medstyle-bench-") as folder:
        model, phantoms = _trained(overrides, quick, shape, subjects, steps, Path(folder), say)
        for number in range(rounds):
            for workers in (1, 2) if number % 2 == 0 else (2, 1):
                say(f"workers: {workers}, round {number + 1} of {rounds}, {subjects} subjects")
                turn = _evaluated(
                    model,
                    phantoms,
                    Path(folder) / f"report{number}_{workers}",
                    _QUICK if quick else "",
                    workers,
                    cores[:workers],
                )
                seconds[workers].append(sum(turn["seconds"].values()))
    one, two = (statistics.median(values) for values in seconds.values())
    each = [a / b for a, b in zip(seconds[1], seconds[2], strict=True)]
    return {
        "shape": list(shape),
        "subjects": subjects,
        "seconds": {str(workers): values for workers, values in seconds.items()},
        "ratios": [
            {
                "name": "subjects/s of two workers against one",
                "value": round(one / two, 3),
                "target": TARGET,
                "at_least": True,
                "rounds": [round(min(each), 3), round(max(each), 3)],
            }
        ],
    }


def one_pair_lines(result: Mapping[str, Any]) -> list[str]:
    """The result as lines to print."""
    lines = [
        f"one pair of {'x'.join(map(str, result['shape']))}, {result['threads']} threads, "
        f"{result['rounds']} rounds",
        f"  {'seconds':24}{'chapter':>12}{'translation':>14}",
    ]
    for name, seconds in result["seconds"].items():
        lines.append(f"  {name:24}{seconds:12.1f}{result['translating'][name]:14.1f}")
    return lines


def workers_lines(result: Mapping[str, Any]) -> list[str]:
    """The result as lines to print."""
    lines = [f"{result['subjects']} pairs of {'x'.join(map(str, result['shape']))}, all chapters"]
    for workers, seconds in result["seconds"].items():
        lines.append(f"  {workers} worker(s) {statistics.median(seconds):12.1f} s")
    return lines


def _trained(
    overrides: Sequence[str],
    quick: bool,
    shape: tuple[int, int, int],
    pairs: int,
    steps: int,
    folder: Path,
    say: Callable[[str], None],
) -> tuple[Path, PhantomFolders]:
    """A run on phantoms, and those; small and short, as the translation is not what is timed."""
    say(f"making phantoms of {'x'.join(map(str, shape))} and a model of {steps} steps")
    phantoms = write_phantom_collections(folder / "phantoms", _STYLE_VOLUMES, pairs, shape=shape)
    options: dict[str, object] = {
        "data.scans": str(phantoms.scans),
        "data.style": str(phantoms.style),
        "data.spacing": [None, None, None],
        "data.sample_size": list(shape[:2]),
        "data.cache.folder": str(folder / "cache"),
        "generator.ngf": 4 if quick else 8,
        "generator.blocks": 1 if quick else 2,
        "training.steps": steps,
    }
    run = folder / "run"
    train(bench_config([*overrides, *WITHOUT_VGG], quick, options), run)
    return run, phantoms


def _evaluated(
    model: Path,
    phantoms: PhantomFolders,
    out: Path,
    chapters: str,
    workers: int = 1,
    cores: Sequence[int] = (),
) -> dict[str, Any]:
    used = ",".join(map(str, cores))
    folders = (model, phantoms.pairs, phantoms.style, out)
    return run_program(
        "evaluation_process.py",
        *folders,
        chapters,
        str(workers),
        used,
        environment=threads_beside(workers),  # as `medstyle evaluate` does
    )
