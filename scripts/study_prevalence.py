#!/usr/bin/env python3
"""Does a translator paint the lesions of its style collection? After Cohen et al. 2018.

    scripts/study_prevalence.py -o runs/prevalence
    scripts/study_prevalence.py -o runs/prevalence --shares 0,1 training.steps=5000

On phantoms that it makes itself: half of the scans have lesions, and of the style volumes a given
share. One translator is trained for each share, and lesions are counted in its translations of
held-out scans, of which half have some: a faithful translator gives half whatever it was trained
on. Hours on two cores; started again with the same folder it goes on.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

# Where `python -I` leaves the script's own folder out.
if (scripts := str(Path(__file__).resolve().parent)) not in sys.path:
    sys.path.insert(0, scripts)

from bench.command import arguments, parse, positive, run, say, show


def main(argv: list[str] | None = None) -> int:
    """Prints the table, writes the curve and the JSON; returns the exit code."""
    parser = arguments(__doc__)
    parser.add_argument(
        "-o", "--out", metavar="OUT", required=True, help="data, runs and figures; resumed"
    )
    parser.add_argument(
        "--shares", type=_shares, help="of style volumes with lesions (default: 0,0.25,0.5,0.75,1)"
    )
    parser.add_argument("--subjects", type=positive, help="in each collection (default: 16)")
    parser.add_argument("--held-out", type=positive, help="subjects to translate (default: 12)")
    args = parse(
        parser,
        argv,
        {
            "shares": ([0.0, 0.25, 0.5, 0.75, 1.0], [0.0, 1.0]),
            "subjects": (16, 2),
            "held_out": (12, 2),
        },
    )
    return run(Path(__file__), args, _measure)


def _measure(args: argparse.Namespace) -> dict[str, Any]:
    from bench.prevalence import study_lines, study_prevalence

    result = study_prevalence(
        Path(args.out),
        args.overrides,
        args.shares,
        args.subjects,
        args.held_out,
        args.quick,
        say,
    )
    show(study_lines(result))
    return {"quick": args.quick, "prevalence": result}


def _shares(text: str) -> list[float]:
    try:
        shares = [float(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no list of shares, such as 0,0.5,1"
        ) from None
    if len(set(shares)) < len(shares) or not all(0 <= share <= 1 for share in shares):
        raise argparse.ArgumentTypeError(f"{text} has a share twice, or one outside 0 to 1")
    return shares


if __name__ == "__main__":
    sys.exit(main())
