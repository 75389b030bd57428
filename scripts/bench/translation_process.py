"""Translates one file of a size in this process, and prints its memory as JSON."""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np

if (scripts := str(Path(__file__).resolve().parents[1])) not in sys.path:
    sys.path.insert(0, scripts)

from bench.translation_speed import make_translator
from medstyle_gan.config import load_config
from medstyle_gan.inference import plan_translation, run_translation
from medstyle_gan.inference.archive.memory import GIBIBYTE, MemoryPlan
from medstyle_gan.volumes import read_header

_MIB = 2.0**20


def main(config_file: str, size: str, max_gib: str, folder: str) -> None:
    """Writes the volume, translates it and prints the figures."""
    shape = tuple(int(n) for n in size.split("x"))
    config = load_config(config_file, [])
    translator = make_translator(config, shape)
    path, out = Path(folder) / f"{size}.nii.gz", Path(folder) / f"out_{size}"
    _write(path, shape, 2 * config.inference.batch_size)
    plan = MemoryPlan(translator, "scan_to_style", float(max_gib) * GIBIBYTE, workers=1)
    estimate = plan.of_volume(read_header(path))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    began = time.perf_counter()
    jobs = plan_translation(translator, [path], out)
    (outcome,) = run_translation(translator, jobs, out=out, memory=plan)
    if outcome.status != "done":
        raise SystemExit(outcome.reason)
    figures = {
        "before_mib": before / _MIB,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / _MIB,
        "foretold_mib": estimate.resident / _MIB,
        "disk_mib": estimate.disk / _MIB,
        "batch_size": estimate.batch_size,
        "seconds": time.perf_counter() - began,
    }
    print(json.dumps(figures))


def _write(path: Path, shape: tuple[int, ...], slices: int) -> None:
    """An int16 volume with body in a few slices in its middle, made without much memory."""
    rng = np.random.default_rng(0)
    array = np.zeros(shape, dtype=np.int16, order="F")
    first = max(0, (shape[2] - slices) // 2)
    inner = tuple(slice(n // 16, n - n // 16) for n in shape[:2])
    for z in range(first, min(shape[2], first + slices)):
        plane = array[..., z]
        plane[inner] = rng.integers(300, 1000, plane[inner].shape)
    nib.save(nib.Nifti1Image(array, np.eye(4)), path)


if __name__ == "__main__":
    main(*sys.argv[1:])
