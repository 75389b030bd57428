"""`medstyle demo`: data, training, translation and figures in one command."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medstyle_gan.cli.options import add_config_arguments
from medstyle_gan.errors import UserError

if TYPE_CHECKING:
    from medstyle_gan.config import Config
    from medstyle_gan.data.phantom import PhantomFolders, PhantomKind
    from medstyle_gan.evaluation import Comparison, GridName, ScoreRow

# Written first, so that a folder can be told to be a demo's even when the demo was stopped.
_MARKER = "demo.json"
_SHAPE, _QUICK_SHAPE = (80, 80, 24), (48, 48, 8)
_SUBJECTS, _QUICK_SUBJECTS = 12, 2
# Phantom kind → what its scans and its style volumes are.
KINDS: dict[PhantomKind, tuple[str, str]] = {
    "mr_t1_to_t2": ("T1", "T2"),
    "mr_scanner": ("old scanner", "new scanner"),
    "cbct_to_ct": ("cone-beam CT", "CT"),
    "mr_contrast": ("low contrast", "high contrast"),
}


def demo_config(
    folders: PhantomFolders,
    out: Path,
    seed: int,
    quick: bool,
    overrides: list[str],
    file: str | None = None,
) -> Config:
    """The demo's settings: small networks and samples, for minutes on two CPU cores.

    Args:
        folders: The collections.
        out: The demo's folder; the cache lies in it, so that nothing is left elsewhere.
        seed: Seed of the training.
        quick: A minute's run without a claim to quality.
        overrides: `key.path=value`, which win.
        file: A YAML file in place of the demo's own settings.

    Raises:
        UserError: The overrides or the file have mistakes.
    """
    from medstyle_gan.config import load_config

    places: dict[str, object] = {
        "data.scans": str(folders.scans),
        "data.style": str(folders.style),
        "data.cache.folder": str(out / "cache"),
        "vgg.weights": "random:0",
        "training.seed": seed,
    }
    settings: dict[str, object] = {
        # Every subject trains; the pair that is scored is of yet another subject.
        "data.validation_fraction": 0,
        "data.spacing": [None, None, None],
        "data.sample_size": [80, 80],
        "data.augmentation.affine": 0.3,
        "generator.ngf": 16,
        "generator.blocks": 4,
        "discriminator.ndf": 32,
        # No identity pull: T2 is nearly the negative of T1 inside the brain, and generators that
        # start near doing nothing settle in a wrong pairing of tissues. Fast discriminators
        # and little content distance to the scan, for the same reason.
        "method.generator_learning_rate": 4e-4,
        "method.discriminator_learning_rate": 6e-4,
        "method.ema_decay": 0.995,
        "loss.cycle.weight": 4,
        "loss.identity.weight": 0,
        "loss.perceptual.weight": 0.002,
        # VGG-19 costs several times these small generators, so it acts rarely.
        "loss.perceptual.every_n_steps": 8,
        "loss.style.every_n_steps": 8,
        "training.steps": 2500,
        "logging.panel_every": 250,
    }
    if quick:
        settings |= {
            "data.spacing": [4.4, 4.4, None],
            "data.sample_size": [48, 48],
            "generator.ngf": 8,
            "generator.blocks": 1,
            "discriminator.ndf": 8,
            "discriminator.layers": 2,
            "training.steps": 40,
            "logging.log_every": 10,
            "logging.panel_every": 20,
            "logging.panel_samples": 2,
        }
    return load_config(file, overrides, options=places if file else places | settings)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's options."""
    parser.add_argument(
        "-o",
        "--out",
        metavar="OUT",
        required=True,
        help="the demo's folder; where a demo stands there already, a new one beside it: OUT-2",
    )
    parser.add_argument(
        "--quick", action="store_true", help="under a minute, with no claim to quality"
    )
    parser.add_argument(
        "--kind",
        choices=list(KINDS),
        default="mr_t1_to_t2",
        help="phantoms to make; the demo's settings are for the first, give a recipe for others "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of data and training (default: %(default)s)"
    )
    add_config_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Makes phantoms, trains, translates a held-out volume, scores and draws it."""
    from medstyle_gan.config import dump_config
    from medstyle_gan.data.phantom import PhantomFolders

    if args.seed < 0:
        raise UserError(f"--seed {args.seed}: a seed must be 0 or more")
    out = _free_folder(Path(args.out))
    data = out / "data"
    planned = PhantomFolders(data / "scans", data / "style", data / "pairs")
    # Before anything is made: mistakes in overrides must not leave a folder behind.
    config = demo_config(planned, out, args.seed, args.quick, args.overrides, args.config)
    if args.print_config:
        print(dump_config(config), end="")
        return 0
    return _demonstrate(config, out, args.seed, args.quick, args.kind)


def _demonstrate(config: Config, out: Path, seed: int, quick: bool, kind: PhantomKind) -> int:
    from medstyle_gan.data.phantom import write_phantom_collections
    from medstyle_gan.evaluation import format_table, write_montage
    from medstyle_gan.inference import Translator
    from medstyle_gan.training import train
    from medstyle_gan.volumes import ensure_writable_folder, write_volume

    ensure_writable_folder(out)
    _write_json(out / _MARKER, {"seed": seed, "quick": quick, "kind": kind})
    subjects = _QUICK_SUBJECTS if quick else _SUBJECTS
    shape = _QUICK_SHAPE if quick else _SHAPE
    scan, style = KINDS[kind]
    _say(f"{out}: making {subjects} scans ({scan}) and {subjects} style volumes ({style})")
    folders = write_phantom_collections(
        out / "data", subjects, pairs=1, seed=seed, shape=shape, kind=kind
    )
    _say(_vgg_notice(config))
    run_folder = train(config, out / "run", announce=_say)

    translator = Translator.load(run_folder)
    (subject,) = sorted(folders.pairs.iterdir())
    translation = translator(subject / "scan.nii.gz")
    path = out / f"{subject.name}_translation.nii.gz"
    write_volume(path, translation.array, translation.geometry, translation.dtype)
    comparisons, rows = _score(config, translator, folders)
    title = f"medstyle demo: phantom {scan} → {style}, a subject that training never saw"
    native = [comparison for comparison in comparisons if comparison.grid == "native"]
    write_montage(out / "demo.png", native, title=title, mark=config.logging.mark)
    _write_figures(out / "figures.json", config, rows, seed, quick, kind)

    print(format_table(rows))
    print("PSNR, SSIM and MAE inside the head, in [-1, 1] units: see medstyle_gan/evaluation")
    if quick:
        print("--quick shows that everything works; these figures say nothing on quality")
    print(f"figure: {out / 'demo.png'}   figures: {out / 'figures.json'}   model: {run_folder}")
    return 0


def _score(
    config: Config, translator: Any, folders: PhantomFolders
) -> tuple[list[Comparison], list[ScoreRow]]:
    """The held-out pair on both grids, beside what needs no network."""
    from medstyle_gan.config.data_section import PairsConfig
    from medstyle_gan.data import find_collection, prepare_collection
    from medstyle_gan.evaluation import (
        GRIDS,
        compare_pairs,
        find_pairs,
        fit_references,
        score_comparison,
    )

    collection = find_collection(str(folders.style), config.data.subject_pattern)
    style = prepare_collection(collection, config.data, "style")
    references = fit_references(style, config.data.plane)
    pairs = find_pairs(PairsConfig(folder=str(folders.pairs)))
    # At the scans' own spacing the network's grid is the native one.
    resampled = any(config.data.spacing)
    grids: Sequence[GridName] = GRIDS if resampled else ("native",)
    comparisons = list(compare_pairs(translator, pairs, config, references, grids))
    return comparisons, [row for c in comparisons for row in score_comparison(c)]


def _free_folder(out: Path) -> Path:
    """Returns `out`, or the first of out-2, out-3, ... where demos stand already.

    Raises:
        UserError: Something other than a demo is there.
    """
    candidate, number = out, 1
    while candidate.exists() and not _is_empty_folder(candidate):
        if not (candidate / _MARKER).is_file():
            raise UserError(
                f"{candidate} exists and is not a demo's folder; nothing was touched: choose "
                "another with -o OUT"
            )
        number += 1
        candidate = out.with_name(f"{out.name}-{number}")
    return candidate


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and next(path.iterdir(), None) is None


def _vgg_notice(config: Config) -> str:
    weights = config.vgg.weights
    if not weights.startswith("random:"):
        return f"VGG-19 weights: {weights}"
    return (
        f"VGG-19 weights: {weights}, seeded random ones, so that the demo downloads nothing. "
        "The perceptual and Gram terms work on them, but not as well as on pretrained ones "
        "(vgg.weights=imagenet)"
    )


def _write_figures(
    path: Path, config: Config, rows: list[ScoreRow], seed: int, quick: bool, kind: PhantomKind
) -> None:
    from medstyle_gan import __version__
    from medstyle_gan.evaluation import beats_all, rows_as_json

    _write_json(
        path,
        {
            "seed": seed,
            "quick": quick,
            "kind": kind,
            "version": __version__,
            "rows": rows_as_json(rows),
            "translation_beats_all": beats_all(rows),
            "config": config.model_dump(mode="json"),
        },
    )


def _write_json(path: Path, content: dict[str, Any]) -> None:
    from medstyle_gan.volumes import atomic_file

    with atomic_file(path) as file:
        file.write((json.dumps(content, indent=2) + "\n").encode())


def _say(line: str) -> None:
    print(line, file=sys.stderr)
