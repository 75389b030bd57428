#!/usr/bin/env python3
"""Speed, memory and size of `medstyle evaluate`: figures of an otherwise idle machine.

    scripts/bench_evaluation.py --json bench.json
    scripts/bench_evaluation.py --parts workers --subjects 24

Both parts train a small translator on phantoms first. Part `pair`: all chapters on one pair, the
seconds of each beside those that translating takes, the process's peak memory and the size of the
page. Part `workers`: many small pairs with one worker on one core and with two on two.
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

_PARTS = ("pair", "workers")


def main(argv: list[str] | None = None) -> int:
    """Prints the tables and writes the JSON; returns the exit code."""
    parser = arguments(__doc__)
    parser.add_argument(
        "--parts",
        metavar="PART,...",
        type=part_names(_PARTS),
        default=list(_PARTS),
        help=f"what to measure, of {', '.join(_PARTS)} (default: all)",
    )
    parser.add_argument("--rounds", type=positive, help="turns of each (default: 1)")
    parser.add_argument("--subjects", type=positive, help="pairs of part workers (default: 16)")
    parser.add_argument("--steps", type=positive, help="of the model's training (default: 60)")
    defaults = {"rounds": (1, 1), "subjects": (16, 2), "steps": (60, 2)}
    return run(Path(__file__), parse(parser, argv, defaults), _measure)


def _measure(args: argparse.Namespace) -> dict[str, Any]:
    import torch
    from bench.evaluation import measure_one_pair, measure_workers, one_pair_lines, workers_lines
    from bench.machine import describe_machine, machine_lines

    machine = describe_machine(torch.device("cpu"), args.quick)
    show(machine_lines(machine))
    result: dict[str, Any] = {"machine": machine, "quick": args.quick}
    if "pair" in args.parts:
        shape = (40, 40, 8) if args.quick else (256, 256, 48)
        pair = measure_one_pair(args.overrides, args.quick, shape, args.steps, args.rounds, say)
        show(["", *one_pair_lines(pair), *verdicts(pair)])
        result["pair"] = pair
    if "workers" in args.parts:
        shape = (40, 40, 8) if args.quick else (96, 96, 24)
        workers = measure_workers(
            args.overrides, args.quick, shape, args.subjects, args.steps, args.rounds, say
        )
        show(["", *workers_lines(workers), *verdicts(workers)])
        result["workers"] = workers
    return result


if __name__ == "__main__":
    sys.exit(main())
