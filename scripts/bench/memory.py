"""Part `memory`: whether a data loop's resident memory depends on the number of volumes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.settings import bench_config
from bench.waiting import phantom_options
from medstyle_gan.config import dump_config
from medstyle_gan.data.datamodule import UnpairedDataModule
from medstyle_gan.errors import UserError

_LOOP = Path(__file__).with_name("memory_loop.py")
_REPOSITORY = Path(__file__).resolve().parents[2]


def measure_memory(
    overrides: Sequence[str], quick: bool, say: Callable[[str], None]
) -> dict[str, Any]:
    """Resident memory of the same data loop over few and over many phantoms.

    Each loop runs in a fresh process, over a cache that is built before, and draws several
    times as many samples as there are volumes.

    Args:
        overrides: the user's `key.path=value`.
        quick: sizes of a smoke test.
        say: takes a line of progress.

    Returns:
        What was measured, for the table and for JSON.

    Raises:
        UserError: this system does not tell a process's resident memory.
    """
    if not Path("/proc/self/status").exists():
        raise UserError("the part memory reads /proc/self/status, which is not there; leave it out")
    few, many = (2, 4) if quick else (8, 80)
    steps = 8 if quick else 5 * many
    with tempfile.TemporaryDirectory(prefix="medstyle-bench-") as folder:
        say(f"memory: making {many} phantoms and their cache")
        # Half of them scans, half style; the few are a part of the many.
        options = phantom_options(overrides, quick, Path(folder), many // 2)
        options |= {"training.steps": steps, "data.validation_fraction": 0}
        everything = bench_config(overrides, quick, options)
        UnpairedDataModule(everything).prepare_data()
        loops = {}
        for count in (few, many):
            say(f"memory: {steps} steps over {count} phantoms")
            part = {
                key: [str(path) for path in sorted(Path(str(options[key])).iterdir())[: count // 2]]
                for key in ("data.scans", "data.style")
            }
            config = Path(folder) / f"{count}.yaml"
            config.write_text(dump_config(bench_config(overrides, quick, options | part)))
            loops[count] = _loop(config)
    return {
        "steps": steps,
        "mib": {str(count): figures for count, figures in loops.items()},
        "ratios": [
            {
                "name": f"{many} against {few} phantoms, {figure}",
                "value": round(loops[many][key] / loops[few][key], 4),
                "target": 1.1,
            }
            for figure, key in (("resident", "resident"), ("peak", "peak"))
        ],
    }


def memory_lines(result: Mapping[str, Any]) -> list[str]:
    """The result as lines to print."""
    lines = [
        f"memory ({result['steps']} batches drawn in a fresh process)",
        f"  {'MiB':16}{'imports':>10}{'resident':>10}{'peak':>10}{'loop adds':>11}",
    ]
    for count, figures in result["mib"].items():
        row = "".join(f"{figures[key]:10.1f}" for key in ("imports", "resident", "peak"))
        added = figures["peak"] - figures["imports"]
        lines.append(f"  {count + ' phantoms':16}{row}{added:11.1f}")
    return lines


def _loop(config: Path) -> dict[str, float]:
    paths = [str(_REPOSITORY), os.environ.get("PYTHONPATH", "")]
    process = subprocess.run(
        [sys.executable, str(_LOOP), str(config)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        capture_output=True,
        text=True,
        check=False,
    )
    if process.returncode:
        raise RuntimeError(f"{_LOOP.name} failed:\n{process.stderr}")
    figures: dict[str, float] = json.loads(process.stdout.splitlines()[-1])
    return figures
