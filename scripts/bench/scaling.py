"""Samples a second of one process on one core against two on one core each."""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench.settings import bench_config
from medstyle_gan.config import Config, dump_config
from medstyle_gan.errors import UserError
from medstyle_gan.methods.vgg_regularizer import cadence

_SCRIPTS = Path(__file__).resolve().parents[1]
TARGET = 1.7
_WARMUP_PERIODS = 1


def measure_scaling(
    overrides: Sequence[str], quick: bool, rounds: int, periods: int, say: Callable[[str], None]
) -> dict[str, Any]:
    """Both contenders in turns; the ratio is that of the medians over the rounds.

    Args:
        overrides: the user's `key.path=value`.
        quick: sizes of a smoke test.
        rounds: turns of each.
        periods: whole periods of the lazily applied VGG terms that count in a turn.
        say: takes a line of progress.

    Raises:
        UserError: there are not two cores to compare, or a process failed.
    """
    cores = distinct_cores()
    if len(cores) < 2:
        raise UserError("two processes on a core each need two physical or logical cores")
    config = bench_config(overrides, quick, {"training.accelerator": "cpu"})
    period = cadence(config.loss)
    steps = (_WARMUP_PERIODS + periods) * period
    rates: dict[int, list[float]] = {1: [], 2: []}
    turns: dict[int, list[dict[str, Any]]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory(prefix="medstyle-bench-") as folder:
        for number in range(rounds):
            for processes in (1, 2) if number % 2 == 0 else (2, 1):
                say(f"scaling: round {number + 1} of {rounds}, {processes} process(es)")
                turn = _turn(config, processes, steps, period, cores, Path(folder))
                rates[processes].append(turn["samples_per_second"])
                turns[processes].append(turn)
    one, two = (statistics.median(rates[n]) for n in (1, 2))
    each = [b / a for a, b in zip(rates[1], rates[2], strict=True)]
    return {
        "processes": {str(n): {"samples_per_second": rates[n]} for n in (1, 2)},
        "step_ms": {str(n): statistics.median(t["step_ms"] for t in turns[n]) for n in (1, 2)},
        "precision": turns[1][0]["precision"],
        "cores": cores[:2],
        "steps_each": steps - _WARMUP_PERIODS * period,
        "rounds": rounds,
        "ratios": [
            {
                "name": "samples/s of two processes against one",
                "value": two / one,
                "target": TARGET,
                "rounds": [min(each), max(each)],
            }
        ],
        "settings": {
            "sample_size": list(config.data.sample_size),
            "generator": config.generator.model_dump(),
            "batch_size": config.training.batch_size,
        },
    }


def scaling_lines(result: dict[str, Any]) -> list[str]:
    """The figures as lines to print."""
    settings = result["settings"]
    lines = [
        f"Training at {settings['sample_size']}, {settings['generator']['name']} ngf "
        f"{settings['generator']['ngf']}, batch {settings['batch_size']} each, "
        f"{result['precision']}; {result['rounds']} rounds of {result['steps_each']} steps, "
        f"cores {result['cores']}"
    ]
    for number in ("1", "2"):
        rates = result["processes"][number]["samples_per_second"]
        lines.append(
            f"  {number} process(es)  {statistics.median(rates):8.3f} samples/s "
            f"({min(rates):.3f} to {max(rates):.3f}), {result['step_ms'][number]:.1f} ms a step"
        )
    for ratio in result["ratios"]:
        met = "met" if ratio["value"] >= ratio["target"] else "MISSED"
        low, high = ratio["rounds"]
        lines.append(
            f"  {ratio['name']}: {ratio['value']:.3f}  target ≥ {ratio['target']}: {met}  "
            f"(rounds {low:.3f} to {high:.3f})"
        )
    return lines


def distinct_cores() -> list[int]:
    """The cores that this process may use, those on other physical ones first."""
    seen: set[str] = set()
    firsts: list[int] = []
    others: list[int] = []
    for core in sorted(os.sched_getaffinity(0)):
        file = Path(f"/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list")
        siblings = file.read_text().strip() if file.exists() else str(core)
        (others if siblings in seen else firsts).append(core)
        seen.add(siblings)
    return [*firsts, *others]


def _turn(
    config: Config, processes: int, steps: int, warmup: int, cores: list[int], folder: Path
) -> dict[str, Any]:
    training = config.training.model_copy(update={"devices": processes, "steps": steps})
    file = folder / f"{processes}.yaml"
    file.write_text(dump_config(config.model_copy(update={"training": training})))
    shared = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(_SCRIPTS), str(_SCRIPTS.parent)]),
    }
    if processes > 1:
        shared |= {
            "TORCHELASTIC_RUN_ID": "bench",
            "WORLD_SIZE": str(processes),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(_free_port()),
        }
    command = [sys.executable, "-m", "bench.scaling_process", str(file)]
    started = [
        subprocess.Popen(
            [*command, str(cores[rank]), str(warmup)],
            env=shared | ({"RANK": str(rank), "LOCAL_RANK": str(rank)} if processes > 1 else {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(processes)
    ]
    outputs = [process.communicate() for process in started]
    if any(process.returncode for process in started):
        raise UserError("a process of the benchmark failed:\n" + "\n".join(e for _, e in outputs))
    result: dict[str, Any] = json.loads(outputs[0][0].splitlines()[-1])
    return result


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
