#!/usr/bin/env python3
"""Speed and memory of style transfer: figures to compare within one run, on an idle machine.

    scripts/bench_stylize.py --json stylize.json
    scripts/bench_stylize.py --parts evaluation --size 512 --bf16

Gatys against a textbook's, which has modules between all layers of a VGG-19. Parts: `evaluation` is
the time of the loss with its gradient; in `descent` both go down from the same picture and are to
reach the same loss; `memory` is the most that each needs. `feedforward` and `adain` are the
pictures a second that a learned method makes at each of `--pictures`, and slices of a volume.
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

_GATYS = ("evaluation", "descent", "memory")
_LEARNED = ("feedforward", "adain")
_PARTS = (*_GATYS, *_LEARNED)


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
    parser.add_argument(
        "--pictures",
        metavar="SIDE,...",
        type=lambda text: [positive(side) for side in text.split(",")],
        help="sides of pictures, parts feedforward and adain (default: 256,1024)",
    )
    parser.add_argument(
        "--slices", type=positive, help="of the volume, parts feedforward and adain (default: 48)"
    )
    parser.add_argument("--bf16", action="store_true", help="bfloat16 features too")
    defaults: dict[str, Any] = {"size": (256, 32), "iterations": (50, 3), "rounds": (9, 1)}
    defaults |= {"pictures": ([256, 1024], [32]), "slices": (48, 2)}
    return run(Path(__file__), parse(parser, argv, defaults), _measure)


def _measure(args: argparse.Namespace) -> dict[str, Any]:
    import torch
    from bench.gatys_time import gatys_lines, measure_gatys
    from bench.learned_time import learned_lines, measure_learned
    from bench.machine import describe_machine, machine_lines

    machine = describe_machine(torch.device("cpu"), args.quick)
    show(machine_lines(machine))
    result: dict[str, Any] = {"machine": machine, "quick": args.quick}
    of_gatys = [part for part in args.parts if part in _GATYS]
    if of_gatys:
        result["gatys"] = measure_gatys(
            args.overrides, of_gatys, args.size, args.iterations, args.rounds, args.bf16, say
        )
        show(["", *gatys_lines(result["gatys"]), *verdicts(result["gatys"])])
    for name in (part for part in args.parts if part in _LEARNED):
        result[name] = measure_learned(
            name, args.overrides, args.pictures, args.slices, args.rounds, say
        )
        show(["", *learned_lines(name, result[name])])
    return result


if __name__ == "__main__":
    sys.exit(main())
