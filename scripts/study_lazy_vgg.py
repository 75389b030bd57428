#!/usr/bin/env python3
"""Does applying the VGG-19 terms lazily cost quality? Trains both ways and compares the losses.

    scripts/study_lazy_vgg.py --json lazy_vgg.json
    scripts/study_lazy_vgg.py --steps 1000 loss.style.every_n_steps=8

On phantoms that it makes itself; lazily is as configured, eagerly is at every step.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

# Where `python -I` leaves the script's own folder out.
if (scripts := str(Path(__file__).resolve().parent)) not in sys.path:
    sys.path.insert(0, scripts)

from bench.command import arguments, parse, positive, run, say, seeds, show


def main(argv: list[str] | None = None) -> int:
    """Prints the table and writes the JSON; returns the exit code."""
    parser = arguments(__doc__)
    parser.add_argument(
        "--seeds", type=seeds, help="a pair of runs each, such as 0,1,2 (default: that)"
    )
    parser.add_argument("--steps", type=positive, help="of each run (default: 600)")
    args = parse(parser, argv, {"seeds": ([0, 1, 2], [0]), "steps": (600, 8)})
    return run(Path(__file__), args, _measure)


def _measure(args: argparse.Namespace) -> dict[str, Any]:
    from bench.lazy_vgg import study_lazy_vgg, study_lines

    result = study_lazy_vgg(args.overrides, args.seeds, args.steps, args.quick, say)
    show(study_lines(result))
    return {"quick": args.quick, "lazy_vgg": result}


if __name__ == "__main__":
    sys.exit(main())
