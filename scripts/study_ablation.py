#!/usr/bin/env python3
"""What does each setting do? Trains a list of configs with several seeds, and tells in a table.

    scripts/study_ablation.py -o OUT --config C.yaml --scans T1/ --style T2/ --pairs PAIRS/
    scripts/study_ablation.py -o OUT ... --names recipe,clamp --seeds 0 training.steps=1000
    scripts/study_ablation.py -o OUT --report docs/ablation.md      # on phantoms that it makes

The list is configs/studies/ablation.yaml, or --list FILE. Trainings follow one another; started
again with the same folder it goes on: what is trained is kept, what was stopped resumes.
Checkpoints are chosen without pairs. The table has PSNR, SSIM, MAE and Spearman's correlation on
each pair (masked, [-1, 1] units, at the network's grid), and the score without pairs; JSON has all
figures, configs, versions and the machine.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

# Where `python -I` leaves the script's own folder out.
if (scripts := str(Path(__file__).resolve().parent)) not in sys.path:
    sys.path.insert(0, scripts)

from bench.command import arguments, parse, run, say, seeds, show

_LIST = Path(__file__).resolve().parents[1] / "configs" / "studies" / "ablation.yaml"


def main(argv: list[str] | None = None) -> int:
    """Trains, prints the table and writes it and the JSON; returns the exit code."""
    parser = arguments(__doc__)
    parser.add_argument("-o", "--out", metavar="OUT", required=True, help="runs and figures")
    parser.add_argument("--config", metavar="YAML", help="what all entries begin with")
    parser.add_argument(
        "--list", metavar="YAML", help="entries (default: configs/studies/ablation.yaml)"
    )
    parser.add_argument("--names", help="those of the list to train, such as recipe,clamp")
    parser.add_argument("--scans", metavar="PATH", help="scan collection")
    parser.add_argument("--style", metavar="PATH", help="style collection")
    parser.add_argument("--pairs", metavar="DIR", help="pairs to tell the figures of")
    parser.add_argument("--seeds", type=seeds, help="of each entry (default: 0,1,2)")
    parser.add_argument("--report", metavar="MD", help="write the table here too")
    args = parse(parser, argv, {"seeds": ([0, 1, 2], [0]), "list": (str(_LIST), str(_LIST))})
    return run(Path(__file__), args, _measure)


def _measure(args: argparse.Namespace) -> dict[str, Any]:
    from bench.ablation import Study, ablation_lines, read_entries, study_ablation

    from medstyle_gan.volumes import atomic_file

    study = Study(
        out=Path(args.out),
        entries=read_entries(Path(args.list), args.names.split(",") if args.names else None),
        base=args.config,
        overrides=tuple(args.overrides),
        options={
            "data.scans": args.scans,
            "data.style": args.style,
            "data.pairs.folder": args.pairs,
        },
        seeds=tuple(args.seeds),
        quick=args.quick,
    )
    result = study_ablation(study, say)
    lines = ablation_lines(result)
    show(lines)
    for path in (study.out / "ablation.md", args.report):
        if path:
            with atomic_file(path) as file:
                file.write(("\n".join(lines) + "\n").encode())
    return result


if __name__ == "__main__":
    sys.exit(main())
