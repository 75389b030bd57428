#!/usr/bin/env python3
"""Contrast enhancement, trained small and measured: a table, JSON and a picture.

    scripts/recipe_contrast.py -o runs/contrast --openms ../shared/data/openms

Trains configs/contrast_enhancement.yaml on phantoms with known tissues and, where the openms
volumes are, on real T1-weighted scans whose contrast is lowered here. Minutes each on an idle
core; what is trained already is not trained again, and a stopped training goes on.

Measured on held-out subjects at the scans' own resolution, of the translation and of what needs no
network (doing nothing, percentile and histogram matching, CLAHE): contrast-to-noise between grey
and white matter and between fluid and grey matter, the correlation of the gradients with the
scan's and with the true high-contrast volume's, and SSIM to the latter.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from nibabel.orientations import apply_orientation, io_orientation

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
# Where `python -I` leaves the script's own folder out.
sys.path.insert(0, str(Path(__file__).resolve().parent))

from recipes.contrast_picture import draw
from recipes.low_contrast import write_openms_collections

import medstyle_gan
from medstyle_gan.config import Config, load_config
from medstyle_gan.data import find_collection, prepare_collection
from medstyle_gan.data.phantom import PhantomFolders, Tissue, write_phantom_collections
from medstyle_gan.errors import UserError
from medstyle_gan.evaluation import Comparison, compare_pairs, find_pairs, fit_references
from medstyle_gan.evaluation.contrast import (
    adaptive_histogram_equalization,
    contrast_to_noise,
    tissue_core,
)
from medstyle_gan.evaluation.scoring import score_comparison
from medstyle_gan.inference import Translator
from medstyle_gan.methods.affine_structure import gradient_correlation
from medstyle_gan.volumes import atomic_file, read_volume

_RECIPE = Path(__file__).resolve().parents[1] / "configs" / "contrast_enhancement.yaml"
_TRUTH = "true high contrast"
# Sizes for minutes on one core; all else is the recipe's.
_SMALL = {
    "generator.ngf": 16,
    "generator.blocks": 3,
    "discriminator.ndf": 16,
    "vgg.weights": "random:0",
    # VGG-19 costs several times such small generators, so it acts rarely.
    "loss.perceptual.every_n_steps": 16,
    "loss.style.every_n_steps": 16,
    # A short training: faster, with an average that forgets sooner.
    "method.generator_learning_rate": 4e-4,
    "method.discriminator_learning_rate": 4e-4,
    "method.ema_decay": 0.99,
    "data.validation_fraction": 0,
    "logging.panel_every": 250,
}
_GRIDS = {
    "phantoms": {"data.spacing": [None, None, None], "data.sample_size": [80, 80]},
    "openms": {"data.spacing": [2.4, 2.4, None], "data.sample_size": [96, 96]},
}


@dataclass(frozen=True)
class Row:
    """Figures of one candidate, means over the held-out subjects.

    Attributes:
        data: `phantoms` or `openms`.
        name: the candidate.
        grey_white: contrast-to-noise ratio of grey and white matter.
        fluid_grey: that of fluid and grey matter.
        kept: gradient correlation with the scan.
        true_edges: gradient correlation with the true high-contrast volume.
        ssim: to that volume.
    """

    data: str
    name: str
    grey_white: float
    fluid_grey: float
    kept: float
    true_edges: float
    ssim: float


def main(argv: list[str] | None = None) -> int:
    """Trains, prints the table and writes the files; returns the exit code."""
    args = _arguments(argv)
    out = Path(args.out)
    try:
        comparisons: dict[str, list[Comparison]] = {}
        rows: list[Row] = []
        models: dict[str, dict[str, object]] = {}
        for data, folders in _collections(out, args):
            run = _train(data, folders, out, args)
            translator = Translator.load(run)
            models[data] = {"steps": translator.steps, "model_hash": translator.model_hash}
            comparisons[data] = list(_compare(translator, folders))
            measured = _measure(data, comparisons[data], folders)
            print(_table(measured), flush=True)
            rows += measured
        figures = {"models": models, "rows": [asdict(row) for row in rows]}
        with atomic_file(out / "contrast.json") as file:
            file.write((json.dumps(figures, indent=2) + "\n").encode())
        draw(Path(args.picture or out / "contrast_enhancement.png"), comparisons, rows)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-o", "--out", metavar="DIR", required=True, help="data, runs and figures")
    parser.add_argument("--openms", metavar="DIR", help="openms volumes (default: phantoms only)")
    parser.add_argument("--steps", type=int, default=1500, help="of each training (default: 1500)")
    parser.add_argument("--picture", metavar="PNG", help="default: OUT/contrast_enhancement.png")
    parser.add_argument(
        "settings", metavar="key.path=value", nargs="*", help="settings of both trainings"
    )
    return parser.parse_args(argv)


def _collections(out: Path, args: argparse.Namespace) -> Iterator[tuple[str, PhantomFolders]]:
    yield (
        "phantoms",
        write_phantom_collections(
            out / "phantoms" / "data", subjects=8, pairs=3, shape=(80, 80, 16), kind="mr_contrast"
        ),
    )
    if args.openms:
        yield "openms", write_openms_collections(Path(args.openms), out / "openms" / "data")


def _train(data: str, folders: PhantomFolders, out: Path, args: argparse.Namespace) -> Path:
    places = {
        "data.scans": str(folders.scans),
        "data.style": str(folders.style),
        "data.cache.folder": str(out / "cache"),
        "training.steps": args.steps,
    }
    given = {setting.partition("=")[0] for setting in args.settings}
    options = {k: v for k, v in (places | _SMALL | _GRIDS[data]).items() if k not in given}
    config = load_config(_RECIPE, args.settings, options=options)
    run = out / data / "run"
    if not (run / "model").is_dir():
        medstyle_gan.train(config, run, resume="if_started", announce=print)
    return run


def _compare(translator: Translator, folders: PhantomFolders) -> Iterator[Comparison]:
    """The held-out pairs with every candidate, at the scans' own resolution."""
    config: Config = translator.config
    style = prepare_collection(find_collection(str(folders.style)), config.data, "style")
    references = fit_references(style, config.data.plane)
    references["CLAHE"] = adaptive_histogram_equalization
    pairs = find_pairs(config.data.pairs.model_copy(update={"folder": str(folders.pairs)}))
    for comparison in compare_pairs(translator, pairs, config, references, ("native",)):
        comparison.candidates[_TRUTH] = comparison.truth
        yield comparison


def _measure(data: str, comparisons: list[Comparison], folders: PhantomFolders) -> list[Row]:
    found: dict[str, list[list[float]]] = {}
    for comparison in comparisons:
        labels = read_volume(folders.pairs / comparison.subject / "labels.nii.gz")
        turn = io_orientation(labels.geometry.affine)
        turned = apply_orientation(np.asarray(labels.array), turn).astype(int)
        fluid, grey, white = (
            tissue_core(turned, tissue) & comparison.mask
            for tissue in (Tissue.CSF, Tissue.GREY_MATTER, Tissue.WHITE_MATTER)
        )
        ssim = {row.name: row.ssim for row in score_comparison(comparison)}
        for name, candidate in comparison.candidates.items():
            found.setdefault(name, []).append(
                [
                    contrast_to_noise(candidate, grey, white),
                    contrast_to_noise(candidate, fluid, grey),
                    _edges_in_common(candidate, comparison.scan, comparison.mask),
                    _edges_in_common(candidate, comparison.truth, comparison.mask),
                    ssim[name],
                ]
            )
    means = {name: np.mean(values, axis=0) for name, values in found.items()}
    return [Row(data, name, *(round(float(v), 4) for v in mean)) for name, mean in means.items()]


def _edges_in_common(image: np.ndarray, other: np.ndarray, mask: np.ndarray) -> float:
    """Gradient correlation, the mean over the axial slices that hold the head."""
    slices = np.flatnonzero(mask.any(axis=(0, 1)))
    one, two = (
        torch.from_numpy(np.ascontiguousarray(a[..., slices].transpose(2, 0, 1)))[:, None]
        for a in (image, other)
    )
    pairs = zip(one.split(1), two.split(1), strict=True)
    return float(np.mean([gradient_correlation(a, b) for a, b in pairs]))


def _table(rows: list[Row]) -> str:
    lines = [f"{rows[0].data:<20} CNR grey-white  CNR fluid-grey  edges: scan's  the truth's  SSIM"]
    for row in rows:
        lines.append(
            f"{row.name.replace('_', ' '):<20} {row.grey_white:14.2f}  {row.fluid_grey:14.2f}  "
            f"{row.kept:13.3f}  {row.true_edges:11.3f}  {row.ssim:.3f}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
