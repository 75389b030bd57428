"""Part `memory`: whether a data loop's resident memory depends on the number of volumes."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.fresh_process import run_program
from bench.many_phantoms import write_many_phantoms
from bench.settings import bench_config
from medstyle_gan.config import dump_config
from medstyle_gan.data.datamodule import UnpairedDataModule
from medstyle_gan.errors import UserError

_FEW, _MANY, _SHAPE = 10, 1_000, (64, 64, 32)
_QUICK_FEW, _QUICK_MANY, _QUICK_SHAPE = 2, 4, (32, 32, 8)
# The samples are whole slices on the volumes' own grid, whatever the other parts are asked for.
_OWN = ("data.sample_size", "data.spacing")


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
    few, many = (_QUICK_FEW, _QUICK_MANY) if quick else (_FEW, _MANY)
    shape = _QUICK_SHAPE if quick else _SHAPE
    steps = 8 if quick else 5 * many
    overrides = [o for o in overrides if o.partition("=")[0].strip() not in _OWN]
    with tempfile.TemporaryDirectory(prefix="medstyle-bench-") as folder:
        say(f"memory: making {many} phantoms of {'x'.join(map(str, shape))} and their cache")
        # Half of them scans, half style; the few are a part of the many.
        folders = write_many_phantoms(Path(folder), many // 2, shape)
        options: dict[str, object] = {
            "data.scans": str(folders.scans),
            "data.style": str(folders.style),
            "data.spacing": [None, None, None],
            "data.sample_size": list(shape[:2]),
            "data.cache.folder": f"{folder}/cache",
            "data.validation_fraction": 0,
            "training.steps": steps,
        }
        UnpairedDataModule(bench_config(overrides, quick, options)).prepare_data()
        loops = {}
        for count in (few, many):
            say(f"memory: {steps} steps over {count} phantoms")
            part = {
                key: [str(path) for path in sorted(Path(str(options[key])).iterdir())[: count // 2]]
                for key in ("data.scans", "data.style")
            }
            config = Path(folder) / f"{count}.yaml"
            config.write_text(dump_config(bench_config(overrides, quick, options | part)))
            loops[count] = run_program("memory_loop.py", config)
    return {
        "steps": steps,
        "shape": list(shape),
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
        f"memory ({result['steps']} batches drawn in a fresh process, phantoms of "
        f"{'x'.join(map(str, result['shape']))})",
        f"  {'MiB':16}{'imports':>10}{'resident':>10}{'peak':>10}{'loop adds':>11}",
    ]
    for count, figures in result["mib"].items():
        row = "".join(f"{figures[key]:10.1f}" for key in ("imports", "resident", "peak"))
        added = figures["peak"] - figures["imports"]
        lines.append(f"  {count + ' phantoms':16}{row}{added:11.1f}")
    return lines
