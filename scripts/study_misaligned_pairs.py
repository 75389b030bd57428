#!/usr/bin/env python3
"""Does learning with a registration pay where pairs do not align? On phantoms with known truth.

    scripts/study_misaligned_pairs.py --json misaligned_pairs.json
    scripts/study_misaligned_pairs.py --shift 3 --seeds 0,1,2 training.steps=1000

Every subject has both contrasts, and its style volume is moved by a smooth random field. Four
trainings: without pairs, on pairs as they lie, on pairs that are registered while it learns, and on
pairs before they were moved. All are scored on other subjects' aligned truth. Minutes on two cores;
with `loss.adversarial.weight=0 loss.cycle.weight=0` the pairs alone are learned from.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

# Where `python -I` leaves the script's own folder out.
if (scripts := str(Path(__file__).resolve().parent)) not in sys.path:
    sys.path.insert(0, scripts)

from bench.command import arguments, parse, part_names, positive, run, say, seeds, show

_TRAININGS = ("unpaired", "as_they_lie", "registered", "aligned")


def main(argv: list[str] | None = None) -> int:
    """Prints the table and writes the JSON; returns the exit code."""
    parser = arguments(__doc__)
    parser.add_argument(
        "--trainings",
        type=part_names(_TRAININGS),
        help="which, such as as_they_lie,registered (default: all four)",
    )
    parser.add_argument("--seeds", type=seeds, help="of the trainings (default: 0)")
    parser.add_argument("--subjects", type=positive, help="with both contrasts (default: 8)")
    parser.add_argument(
        "--shift",
        type=float,
        help="standard deviation of the shift along each axis of a slice, mm (default: 5)",
    )
    defaults: dict[str, Any] = {
        "trainings": (_TRAININGS, _TRAININGS),
        "seeds": ([0], [0]),
        "subjects": (8, 2),
        "shift": (5.0, 5.0),
    }
    return run(Path(__file__), parse(parser, argv, defaults), _measure)


def _measure(args: argparse.Namespace) -> dict[str, Any]:
    from bench.misaligned_pairs import study_lines, study_misaligned_pairs

    result = study_misaligned_pairs(
        args.overrides, args.trainings, args.seeds, args.subjects, args.shift, args.quick, say
    )
    show(study_lines(result))
    return {"quick": args.quick, "misaligned_pairs": result}


if __name__ == "__main__":
    sys.exit(main())
