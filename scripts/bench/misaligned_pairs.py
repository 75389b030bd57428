"""What a registration in training does for pairs that do not align: four trainings on phantoms."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from medstyle_gan.config import Config, load_config
from medstyle_gan.config.data_section import PairsConfig
from medstyle_gan.data.phantom import Phantom, make_phantom, write_phantom_collections
from medstyle_gan.data.phantom.fields import smooth_field
from medstyle_gan.errors import UserError
from medstyle_gan.evaluation import find_pairs
from medstyle_gan.evaluation.scoring import mean_scores, score_rows
from medstyle_gan.inference import Translator
from medstyle_gan.training import train
from medstyle_gan.volumes import Geometry, write_volume

_OWN = ("data.scans", "data.style", "data.cache.folder", "data.pairing", "training.seed")
_WEIGHT = "loss.registration.weight"
# Name → settings of its own, and the folder of style volumes that it learns from.
TRAININGS: dict[str, tuple[dict[str, object], str]] = {
    "unpaired": ({}, "moved"),
    "as_they_lie": (
        {"data.pairing": "subject", _WEIGHT: 20, "loss.registration.deform": False},
        "moved",
    ),
    "registered": ({"data.pairing": "subject", _WEIGHT: 20}, "moved"),
    "aligned": (
        {"data.pairing": "subject", _WEIGHT: 20, "loss.registration.deform": False},
        "aligned",
    ),
}
_SETTINGS: dict[str, object] = {
    "data.spacing": [None, None, None],
    "data.sample_size": [64, 64],
    "data.validation_fraction": 0,
    "generator.ngf": 8,
    "generator.blocks": 2,
    "discriminator.ndf": 8,
    "discriminator.layers": 2,
    # As the demo has them, for as few steps.
    "method.generator_learning_rate": 4e-4,
    "method.discriminator_learning_rate": 4e-4,
    "method.ema_decay": 0.99,
    "loss.cycle.weight": 4,
    "loss.identity.weight": 0,
    # The question is what pairs do.
    "loss.perceptual.weight": 0,
    "loss.perceptual.reconstruction_weight": 0,
    "loss.style.weight": 0,
    "training.steps": 300,
    "training.batch_size": 2,
    "guards.enabled": False,
    "logging.panel_every": 100_000,
}
_QUICK: dict[str, object] = {
    "data.sample_size": [32, 32],
    "generator.ngf": 4,
    "generator.blocks": 1,
    "discriminator.ndf": 4,
    "discriminator.layers": 1,
    "registration.width": 4,
    "registration.levels": 2,
    "training.steps": 2,
}
_HELD_OUT = 3
# Of a head, not of a gyrus: what is left when a patient has moved or a scanner distorts (mm).
_WAVELENGTH = 70.0


def study_misaligned_pairs(
    overrides: Sequence[str],
    trainings: Sequence[str],
    seeds: Sequence[int],
    subjects: int,
    shift: float,
    quick: bool,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Train a few times a seed, and score on aligned truth.

    Args:
        overrides: the user's `key.path=value`.
        trainings: some of `TRAININGS`.
        seeds: of the trainings; the data is the same.
        subjects: that are trained on, each with both contrasts.
        shift: standard deviation of the shift along each axis of a slice (mm).
        quick: sizes of a smoke test.
        say: takes a line of progress.

    Raises:
        UserError: the overrides have mistakes.
    """
    taken = [key for key in _OWN if any(o.partition("=")[0].strip() == key for o in overrides)]
    if taken:
        raise UserError(f"the study sets {', '.join(taken)} itself; leave that out")
    with tempfile.TemporaryDirectory(prefix="medstyle-study-") as name:
        folder = Path(name)
        shape = (32, 32, 8) if quick else (64, 64, 16)
        moved_by = _write_subjects(folder, subjects, shape, shift)
        held_out = write_phantom_collections(
            folder / "other", 0, 1 if quick else _HELD_OUT, seed=1, shape=shape
        )

        def config(seed: int, kind: str) -> Config:
            own, style = TRAININGS[kind]
            places: dict[str, object] = {
                "data.scans": str(folder / "scans"),
                "data.style": str(folder / style),
                "data.cache.folder": str(folder / "cache"),
                "training.seed": seed,
            }
            settings = _SETTINGS | (_QUICK if quick else {}) | own | places
            given = {o.partition("=")[0].strip() for o in overrides}
            left = {key: value for key, value in settings.items() if key not in given}
            return load_config(None, list(overrides), options=left)

        pairs = find_pairs(PairsConfig(folder=str(held_out.pairs)))
        result: dict[str, Any] = {
            "subjects": subjects,
            "held_out": len(pairs),
            "steps": config(seeds[0], trainings[0]).training.steps,
            "seeds": list(seeds),
            "shift_mm": moved_by,
            "settings": _SETTINGS | (_QUICK if quick else {}),
            "overrides": list(overrides),
            "runs": [],
        }
        for seed in seeds:
            for number, kind in enumerate(trainings):
                began = time.perf_counter()
                settings = config(seed, kind)
                run = train(settings, folder / "runs" / f"{number}-{seed}")
                rows = score_rows(Translator.load(run), pairs, settings)
                scores = mean_scores([row for row in rows if row.name == "translation"])
                result["runs"].append({"kind": kind, "seed": seed, **scores})
                say(f"seed {seed}, {kind}: {scores['psnr']:.2f} dB, {_seconds(began)}")
    return result


def study_lines(result: Mapping[str, Any]) -> list[str]:
    """The figures as lines to print."""
    shift = result["shift_mm"]
    lines = [
        f"{result['subjects']} phantoms with both contrasts, the second moved by "
        f"{shift['mean']:.1f} mm on average ({shift['largest']:.1f} at most), {result['steps']} "
        f"steps, seeds "
        f"{', '.join(map(str, result['seeds']))}; aligned truth of {result['held_out']} others, "
        "in the head, in [-1, 1] units",
        f"  {'':20}{'PSNR (dB)':>12}{'SSIM':>8}{'MAE':>8}{'Spearman':>10}   PSNR of each seed",
    ]
    kinds = dict.fromkeys(run["kind"] for run in result["runs"])
    for kind in kinds:
        runs = [run for run in result["runs"] if run["kind"] == kind]
        mean = {m: statistics.mean(r[m] for r in runs) for m in ("psnr", "ssim", "mae", "spearman")}
        each = " ".join(f"{run['psnr']:.2f}" for run in runs)
        lines.append(
            f"  {kind:20}{mean['psnr']:12.2f}{mean['ssim']:8.3f}{mean['mae']:8.3f}"
            f"{mean['spearman']:10.3f}   {each}"
        )
    return lines


def _seconds(began: float) -> str:
    return f"{time.perf_counter() - began:.0f} s"


def _write_subjects(
    folder: Path, count: int, shape: tuple[int, int, int], shift: float
) -> dict[str, float]:
    """Writes scans, and style volumes before and after they are moved; tells by how much (mm)."""
    for name in ("scans", "aligned", "moved"):
        (folder / name).mkdir()
    lengths: list[NDArray[np.float32]] = []
    for subject in range(count):
        phantom = make_phantom(1000 + subject, shape)
        moved, length = _moved(phantom, np.random.default_rng(subject), shift)
        lengths.append(length[phantom.mask])
        file = f"sub-{subject:02d}.nii.gz"
        for name, array in (("scans", phantom.scan), ("aligned", phantom.style)):
            _write(folder / name / file, phantom, array)
        _write(folder / "moved" / file, phantom, moved.style)
    every = np.concatenate(lengths)
    return {"mean": float(every.mean()), "largest": float(every.max())}


def _moved(
    phantom: Phantom, rng: np.random.Generator, shift: float
) -> tuple[Phantom, NDArray[np.float32]]:
    """A phantom whose style volume is moved within its slices, and by how far (mm)."""
    geometry = Geometry.from_affine(phantom.style.shape, phantom.affine)
    spacing = [float(s) for s in geometry.spacing[:3]]
    size = phantom.style.shape
    moves = shift * np.stack([smooth_field(rng, size, spacing, _WAVELENGTH) for _ in range(2)])
    index = np.stack(np.meshgrid(*[np.arange(n) for n in size], indexing="ij")).astype(np.float32)
    for axis in range(2):
        index[axis] += moves[axis] / spacing[axis]
    style = map_coordinates(phantom.style, index, order=3, mode="nearest").clip(min=0)
    return replace(phantom, style=np.rint(style)), np.hypot(*moves)


def _write(path: Path, phantom: Phantom, array: NDArray[np.float32]) -> None:
    write_volume(path, array, Geometry.from_affine(array.shape, phantom.affine), phantom.dtype)
