#!/usr/bin/env python3
"""Contrast enhancement, trained small and measured: a table, JSON and a picture.

    scripts/recipe_contrast.py -o runs/contrast --openms ../shared/data/openms

Trains configs/contrast_enhancement.yaml on phantoms with known tissues and, where the openms
volumes are, on real T1-weighted scans whose contrast is lowered here. Minutes each on an idle
core; what is trained already is not trained again, and a stopped training goes on.

Measured on held-out subjects at the scans' own resolution, of the translation and of what needs no
network (doing nothing, percentile and histogram matching, CLAHE, smoothing): contrast-to-noise
between grey and white matter and between fluid and grey matter, the correlation of the gradients
with the scan's and with the true high-contrast volume's, and SSIM to the latter.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
# Where `python -I` leaves the script's own folder out.
sys.path.insert(0, str(Path(__file__).resolve().parent))

from recipes.contrast_figures import NETWORK, TRUTH, Row, format_rows, measure
from recipes.contrast_picture import draw
from recipes.low_contrast import write_openms_collections

import medstyle_gan
from medstyle_gan.config import Config, load_config
from medstyle_gan.data import find_collection, prepare_collection
from medstyle_gan.data.phantom import PhantomFolders, write_phantom_collections
from medstyle_gan.errors import UserError
from medstyle_gan.evaluation import Comparison, compare_pairs, find_pairs, fit_references
from medstyle_gan.evaluation.chapter import TRANSLATION
from medstyle_gan.evaluation.contrast import adaptive_histogram_equalization, smoothing
from medstyle_gan.inference import Translator
from medstyle_gan.volumes import atomic_file

_RECIPE = Path(__file__).resolve().parents[1] / "configs" / "contrast_enhancement.yaml"
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


def main(argv: list[str] | None = None) -> int:
    """Trains, prints the table and writes the files; returns the exit code."""
    args = _arguments(argv)
    out = Path(args.out)
    try:
        comparisons: dict[str, list[Comparison]] = {}
        rows: list[Row] = []
        models: dict[str, dict[str, object]] = {}
        for data, folders in _collections(out, args):
            run, config = _train(data, folders, out, args)
            translator = Translator.load(run, inference=config.inference)
            models[data] = {"steps": translator.steps, "model_hash": translator.model_hash}
            freely = config.inference.model_copy(update={"structure": "free"})
            network = Translator.load(run, inference=freely)
            comparisons[data] = list(_compare(translator, network, folders))
            measured = measure(data, comparisons[data], folders)
            print(format_rows(measured), flush=True)
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


def _train(
    data: str, folders: PhantomFolders, out: Path, args: argparse.Namespace
) -> tuple[Path, Config]:
    """The run, trained if it is not yet, and the settings."""
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
    return run, config


def _compare(
    translator: Translator, network: Translator, folders: PhantomFolders
) -> Iterator[Comparison]:
    """The held-out pairs with every candidate, at the scans' own resolution."""
    config: Config = translator.config
    collection = find_collection(str(folders.style), config.data.subject_pattern)
    style = prepare_collection(collection, config.data, "style")
    references = fit_references(style, config.data.plane)
    references |= {"CLAHE": adaptive_histogram_equalization, "smoothing": smoothing}
    pairs = find_pairs(config.data.pairs.model_copy(update={"folder": str(folders.pairs)}))
    alone = compare_pairs(network, pairs, config, {}, ("native",))
    compared = compare_pairs(translator, pairs, config, references, ("native",))
    for comparison, freely in zip(compared, alone, strict=True):
        comparison.candidates[NETWORK] = freely.candidates[TRANSLATION]
        comparison.candidates[TRUTH] = comparison.truth
        yield comparison


if __name__ == "__main__":
    sys.exit(main())
