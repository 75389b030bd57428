#!/usr/bin/env python3
"""Speed and memory of style transfer: figures to compare within one run, on an idle machine.

    scripts/bench_stylize.py --json stylize.json
    scripts/bench_stylize.py --parts evaluation --size 512 --bf16

Gatys against a textbook's, which has modules between all layers of a VGG-19. Parts: `evaluation` is
the time of the loss with its gradient; in `descent` both go down from the same picture and are to
reach the same loss; `memory` is the most that each needs.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

# Where `python -I` leaves the script's own folder out.
if (scripts := str(Path(__file__).resolve().parent)) not in sys.path:
    sys.path.insert(0, scripts)

from bench.command import arguments, parse, part_names, positive, run, say, show, verdicts

_PARTS = ("evaluation", "descent", "memory")


def main(argv: list[str] | None = None) -> int:
    """Prints the tables and writes the JSON; returns the exit code."""
    parser = arguments(__doc__)
    parser.add_argument("--size", type=positive, help="side of the pictures (default: 256)")
    parser.add_argument(
        "--parts",
        metavar="PART,...",
        type=part_names(_PARTS),
        default=list(_PARTS),
        help=f"what to measure, of {', '.join(_PARTS)} (default: all)",
    )
    parser.add_argument("--iterations", type=positive, help="of L-BFGS, part descent (default: 50)")
    parser.add_argument(
        "--rounds", type=positive, help="evaluations of each, part evaluation (default: 9)"
    )
    parser.add_argument("--bf16", action="store_true", help="bfloat16 features too")
    defaults = {"size": (256, 32), "iterations": (50, 3), "rounds": (9, 1)}
    return run(Path(__file__), parse(parser, argv, defaults), _measure)


def _measure(args: argparse.Namespace) -> dict[str, Any]:
    import torch
    from bench.gatys_time import gatys_lines, measure_gatys
    from bench.machine import describe_machine, machine_lines

    machine = describe_machine(torch.device("cpu"), args.quick)
    show(machine_lines(machine))
    gatys = measure_gatys(
        args.overrides, args.parts, args.size, args.iterations, args.rounds, args.bf16, say
    )
    show(["", *gatys_lines(gatys), *verdicts(gatys)])
    return {"machine": machine, "quick": args.quick, "gatys": gatys}


if __name__ == "__main__":
    sys.exit(main())
