#!/usr/bin/env python3
"""Two CPU processes on a core each against one on one core: samples a second, and their ratio.

    scripts/bench_scaling.py --json scaling.json
    scripts/bench_scaling.py generator.ngf=64 data.sample_size=[256,256]

Both train as `medstyle train` does, with gloo between the two; needs an otherwise idle machine.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

_SCRIPTS = Path(__file__).resolve().parent


def main(argv: list[str] | None = None) -> int:
    """Prints the table and writes the JSON; returns the exit code."""
    args = _arguments(argv)
    for folder in (str(_SCRIPTS), str(_SCRIPTS.parent)):
        if folder not in sys.path:
            sys.path.insert(0, folder)
    from bench.environment import enter_environment

    enter_environment(Path(__file__))
    import torch
    from bench.machine import describe_machine, machine_lines
    from bench.scaling import measure_scaling, scaling_lines

    from medstyle_gan.errors import UserError
    from medstyle_gan.volumes import atomic_file

    try:
        machine = describe_machine(torch.device("cpu"), args.quick)
        print("\n".join(machine_lines(machine)), flush=True)
        result = measure_scaling(args.overrides, args.quick, args.rounds, args.periods, _say)
        print("\n".join(["", *scaling_lines(result)]), flush=True)
        if args.quick:
            print("\n--quick is a smoke test: its figures say nothing about the product")
        if args.json:
            text = json.dumps(
                {"machine": machine, "quick": args.quick, "scaling": result}, indent=2
            )
            with atomic_file(args.json) as file:
                file.write((text + "\n").encode())
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "overrides", metavar="key.path=value", nargs="*", help="settings, as of `medstyle train`"
    )
    parser.add_argument("--json", metavar="FILE", help="write the figures here too")
    parser.add_argument("--rounds", type=_positive, help="turns of each (default: 5)")
    parser.add_argument(
        "--periods", type=_positive, help="whole VGG periods in a turn (default: 6)"
    )
    parser.add_argument("--quick", action="store_true", help="a smoke test: tiny, no claims")
    args = parser.parse_intermixed_args(argv)
    for name, (full, quick) in {"rounds": (5, 1), "periods": (6, 1)}.items():
        if getattr(args, name) is None:
            setattr(args, name, quick if args.quick else full)
    return args


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return value


def _say(line: str) -> None:
    print(f"[{line}]", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
