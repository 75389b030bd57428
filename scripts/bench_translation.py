#!/usr/bin/env python3
"""Speed and memory of translation: figures to compare within one run, on an otherwise idle machine.

    scripts/bench_translation.py --json bench.json
    scripts/bench_translation.py --parts speed --volumes 256x256x48 generator.ngf=64

Parts: `speed` compares our translation of a whole volume with a plain loop, one slice at a time in
fp32, and with MONAI's inferers around the same network, and tells the share of the measured matrix
product rate that it reaches, by the operations of the plain network (convolutions with fewer
multiplications can exceed it); `memory` tells the peak resident memory of a fresh process by the
volume's size. The networks have random weights of the size that the settings give.
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

_PARTS = ("speed", "memory")
_SPEED = [(256, 256, 48), (512, 512, 120)]
_MEMORY = [(128, 128, 128), (256, 256, 256), (512, 512, 120), (512, 512, 600)]
_QUICK = [(32, 32, 6)]


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
    parser.add_argument(
        "--volumes",
        metavar="XxYxZ,...",
        type=_sizes,
        help="sizes of the volumes of both parts (default: 256x256x48,512x512x120 for speed, "
        "128x128x128 to 512x512x600 for memory)",
    )
    parser.add_argument(
        "--slices",
        type=positive,
        help="slices of each volume that part speed translates (default: 24), all alike in cost",
    )
    parser.add_argument("--rounds", type=positive, help="turns of each contender (default: 3)")
    parser.add_argument(
        "--max-memory", type=float, default=4.0, metavar="GIB", help="part memory (default: 4)"
    )
    parser.add_argument("--profile", action="store_true", help="part speed: costliest operations")
    args = parse(parser, argv, {"rounds": (3, 1), "slices": (24, 4)})
    return run(Path(__file__), args, _measure)


def _sizes(text: str) -> list[tuple[int, ...]]:
    sizes = [tuple(int(n) for n in size.split("x")) for size in text.split(",")]
    if any(len(size) != 3 or min(size) < 1 for size in sizes):
        raise argparse.ArgumentTypeError(f"{text}: give sizes such as 256x256x48,512x512x120")
    return sizes


def _measure(args: argparse.Namespace) -> dict[str, Any]:
    from bench.machine import describe_machine, machine_lines
    from bench.settings import bench_config, bench_device

    config = bench_config(args.overrides, args.quick)
    machine = describe_machine(bench_device(config), args.quick)
    show(machine_lines(machine))
    result: dict[str, Any] = {"machine": machine, "quick": args.quick}
    if "speed" in args.parts:
        from bench.translation_speed import measure_speed, profile_translation, speed_lines

        sizes = args.volumes or (_QUICK if args.quick else _SPEED)
        speed = measure_speed(config, sizes, args.slices, args.rounds, machine, say)
        show(["", *speed_lines(speed), *verdicts(speed)])
        result["speed"] = speed
        if args.profile:
            print(profile_translation(config, sizes[0], args.slices))
    if "memory" in args.parts:
        from bench.translation_memory import measure_memory, memory_lines

        sizes = args.volumes or (_QUICK if args.quick else _MEMORY)
        memory = measure_memory(config, sizes, args.max_memory, say)
        show(["", *memory_lines(memory), *verdicts(memory)])
        result["memory"] = memory
    return result


if __name__ == "__main__":
    sys.exit(main())
