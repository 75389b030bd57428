#!/usr/bin/env python3
"""Figures of a trained run on registered pairs: a table, JSON and a montage to look at.

    scripts/figures_openms.py runs/openms --pairs ../shared/data/openms/val_pairs

Masked PSNR, SSIM, MAE in [-1, 1] units and Spearman's correlation with the true style volume, at
the network's grid and at native resolution, of the translation and of the references (that of the
scan stands under `doing nothing`). `best global map` is no reference but a bound: the intensity
map fitted on the answer itself.

The grid `plain 1.8 mm` repeats the protocol of the figures that were measured for other code before
this one, see `bench/plain_grid.py`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from bench.plain_grid import score_plainly

from medstyle_gan.config.data_section import PairNames, PairsConfig
from medstyle_gan.data import find_collection, prepare_collection
from medstyle_gan.errors import UserError
from medstyle_gan.evaluation import (
    Comparison,
    compare_pairs,
    find_pairs,
    fit_references,
    format_table,
    mean_rows,
    rows_as_json,
    score_comparison,
    write_montage,
)
from medstyle_gan.evaluation.registered_map import registered_map
from medstyle_gan.inference import Translator, load_bundle
from medstyle_gan.volumes import atomic_file

_BOUND = "best_global_map"


def main() -> int:
    """Prints the table and writes the files; returns the exit code."""
    args = _arguments()
    try:
        _write_figures(args)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", metavar="RUN", help="run folder of `medstyle train`")
    parser.add_argument("--pairs", metavar="DIR", required=True, help="one subfolder a subject")
    parser.add_argument("--scan", default="T1W", help="the scan's file name (default: T1W)")
    parser.add_argument("--style-name", default="T2W", help="the truth's (default: T2W)")
    parser.add_argument("--mask", default="mask", help="the mask's (default: mask)")
    parser.add_argument(
        "--style",
        metavar="PATH",
        help="style collection that references are fitted to (default: the run's own)",
    )
    parser.add_argument(
        "--registered-map",
        action="store_true",
        help="for a run without a warm start on registered scans: register some now, for the "
        "reference that is learned from them",
    )
    parser.add_argument("--rows", type=int, default=6, help="slices a pair shows (default: 6)")
    parser.add_argument("-o", "--out", metavar="DIR", help="where files go (default: RUN/figures)")
    return parser.parse_args()


def _write_figures(args: argparse.Namespace) -> None:
    run = Path(args.run)
    out = Path(args.out) if args.out else run / "figures"
    translator = Translator.load(run)
    config = translator.config
    style_spec = args.style or _trained_on(run)
    collection = find_collection(style_spec, config.data.subject_pattern)
    style = prepare_collection(collection, config.data, "style")
    names = PairNames(scan=args.scan, style=args.style_name, mask=args.mask)
    pairs = find_pairs(PairsConfig(folder=args.pairs, names=names))
    learned = registered_map(load_bundle(run), run, make=args.registered_map)
    print(learned.note)
    references = fit_references(style, config.data.plane, learned.learned)

    started = time.perf_counter()
    comparisons = list(compare_pairs(translator, pairs, config, references))
    for comparison in comparisons:
        comparison.candidates[_BOUND] = _best_global_map(comparison)
    rows = [row for comparison in comparisons for row in score_comparison(comparison)]
    rows += [row for c in comparisons if c.grid == "native" for row in score_plainly(c)]
    means = mean_rows(rows) if len(pairs) > 1 else []
    print(format_table([*rows, *means]))
    made = [c.subject for c in comparisons if not c.mask_given and c.grid == "native"]
    if made:
        print(f"no mask was given for {', '.join(made)}: the scan's foreground was used")

    figures = {
        "steps": translator.steps,
        "model_hash": translator.model_hash,
        "registered_map": learned.origin,
        "protocol": "masked, [-1, 1] units by data.intensity, data range 2",
        "rows": rows_as_json(rows),
        "means": rows_as_json(means),
        "seconds": round(time.perf_counter() - started, 1),
        "config": config.model_dump(mode="json"),
    }
    with atomic_file(out / "figures.json") as file:
        file.write((json.dumps(figures, indent=2) + "\n").encode())
    for grid in ("network", "native"):
        shown = [comparison for comparison in comparisons if comparison.grid == grid]
        write_montage(out / f"montage_{grid}.png", shown, args.rows, f"{run.name}, {grid} grid")
    print(f"written: {out}/figures.json, montage_network.png, montage_native.png")


def _trained_on(run: Path) -> str | list[str]:
    """The style collection that the run's config names; a model's own config names none."""
    from medstyle_gan.config import load_config

    path = run / "config.yaml"
    spec = load_config(path).data.style if path.is_file() else None
    if spec is None:
        raise UserError(f"{run} does not say what style it was trained on; give --style PATH")
    return spec


def _best_global_map(comparison: Comparison) -> np.ndarray:
    """The mean truth of each of 256 scan intensities: no global map has a smaller error."""
    bins = np.clip(np.rint((comparison.scan + 1) * 127.5), 0, 255).astype(int)
    inside = bins[comparison.mask]
    counts = np.maximum(np.bincount(inside, minlength=256), 1)
    means = np.bincount(inside, comparison.truth[comparison.mask], 256) / counts
    return means.astype(np.float32)[bins]


if __name__ == "__main__":
    sys.exit(main())
