#!/usr/bin/env python3
"""Speed and memory of training: figures to compare within one run, on an otherwise idle machine.

    scripts/bench_training.py --json bench.json
    scripts/bench_training.py --parts step generator.ngf=64 data.sample_size=[256,256]

Parts: `step` compares our training step with a textbook CycleGAN's and with VGG-19's terms on;
`data` tells what a training waits for samples, and what a cold cache, random reads and the start
cost; `memory` compares the resident memory of a data loop over 10 and over 1,000 volumes.
Any setting of a config can be given.
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

_PARTS = ("step", "data", "memory")


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
        "--rounds", type=positive, help="turns of each contender, part step (default: 8)"
    )
    parser.add_argument("--periods", type=positive, help="whole VGG periods in a turn (default: 2)")
    parser.add_argument("--steps", type=positive, help="steps of part data (default: 200)")
    parser.add_argument("--profile", action="store_true", help="part step: costliest operations")
    args = parse(parser, argv, {"rounds": (8, 1), "periods": (2, 1), "steps": (200, 4)})
    return run(Path(__file__), args, _measure)


def _measure(args: argparse.Namespace) -> dict[str, Any]:
    from bench.machine import describe_machine, machine_lines
    from bench.settings import bench_config, bench_device

    config = bench_config(args.overrides, args.quick)
    machine = describe_machine(bench_device(config), args.quick)
    show(machine_lines(machine))
    result: dict[str, Any] = {"machine": machine, "quick": args.quick}
    if "step" in args.parts:
        from bench.step_time import measure_steps, profile_step, step_lines

        step = measure_steps(
            args.overrides,
            args.quick,
            args.rounds,
            args.periods,
            machine["gemm_gflops"],
            say,
        )
        show(["", *step_lines(step), *verdicts(step)])
        result["step"] = step
        if args.profile:
            print(profile_step(args.overrides, args.quick))
    if "data" in args.parts:
        from bench.waiting import measure_waiting, waiting_lines

        data = measure_waiting(args.overrides, args.quick, args.steps, say)
        show(["", *waiting_lines(data), *verdicts(data)])
        result["data"] = data
    if "memory" in args.parts:
        from bench.memory import measure_memory, memory_lines

        memory = measure_memory(args.overrides, args.quick, say)
        show(["", *memory_lines(memory), *verdicts(memory)])
        result["memory"] = memory
    return result


if __name__ == "__main__":
    sys.exit(main())
