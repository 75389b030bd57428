#!/usr/bin/env python3
"""Two CPU processes on a core each against one on one core: samples a second, and their ratio.

    scripts/bench_scaling.py --json scaling.json
    scripts/bench_scaling.py generator.ngf=64 data.sample_size=[256,256]

Both train as `medstyle train` does, with gloo between the two; needs an otherwise idle machine.
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
    """Prints the table and writes the JSON; returns the exit code."""
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=positive, help="turns of each (default: 5)")
    parser.add_argument("--periods", type=positive, help="whole VGG periods in a turn (default: 6)")
    args = parse(parser, argv, {"rounds": (5, 1), "periods": (6, 1)})
    return run(Path(__file__), args, _measure)


def _measure(args: argparse.Namespace) -> dict[str, Any]:
    import torch
    from bench.machine import describe_machine, machine_lines
    from bench.scaling import measure_scaling, scaling_lines

    machine = describe_machine(torch.device("cpu"), args.quick)
    show(machine_lines(machine))
    result = measure_scaling(args.overrides, args.quick, args.rounds, args.periods, say)
    show(["", *scaling_lines(result)])
    return {"machine": machine, "quick": args.quick, "scaling": result}


if __name__ == "__main__":
    sys.exit(main())
