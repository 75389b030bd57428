#!/usr/bin/env python3
r"""One subject out of both collections, and its scans with its style volumes as pairs to score by.

    scripts/hold_out_subject.py --scans T1/ --style T2/ --subject patient01 -o OUT \
        --visit '(patient\d+_study\d+)'
    scripts/study_ablation.py -o RUNS --scans OUT/scans.csv --style OUT/style.csv --pairs OUT/pairs

OUT/scans.csv and OUT/style.csv list what is left, OUT/pairs/VISIT/ holds each scan, its style
volume registered rigidly onto its grid (SimpleITK, mutual information), and a mask of the head
where both have voxels. Another subject each time is a cross-validation: settings that are better
for one subject alone are not better. Look at the pairs before you believe them.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

# Where `python -I` leaves the script's own folder out.
if (scripts := str(Path(__file__).resolve().parent)) not in sys.path:
    sys.path.insert(0, scripts)

from bench.command import arguments, run, say


def main(argv: list[str] | None = None) -> int:
    """Writes lists and pairs; returns the exit code."""
    parser = arguments(__doc__)
    parser.add_argument("-o", "--out", metavar="OUT", required=True, help="a new folder")
    parser.add_argument("--scans", metavar="PATH", required=True, help="scan collection")
    parser.add_argument("--style", metavar="PATH", required=True, help="style collection")
    parser.add_argument("--subject", required=True, help="as data.subject_pattern finds it")
    parser.add_argument(
        "--visit",
        metavar="PATTERN",
        help="what the names of a scan and its style volume have in common (default: the subject)",
    )
    return run(Path(__file__), parser.parse_intermixed_args(argv), _hold_out)


def _hold_out(args: argparse.Namespace) -> dict[str, Any]:
    from bench.held_out_subject import HeldOut, hold_out_subject

    asked = HeldOut(args.scans, args.style, args.subject, args.visit, tuple(args.overrides))
    return hold_out_subject(asked, Path(args.out), say)


if __name__ == "__main__":
    sys.exit(main())
