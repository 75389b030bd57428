#!/usr/bin/env python3
"""Does applying the VGG-19 terms lazily cost quality? Trains both ways and compares the losses.

    scripts/study_lazy_vgg.py --json lazy_vgg.json
    scripts/study_lazy_vgg.py --steps 1000 loss.style.every_n_steps=8

On phantoms that it makes itself; lazily is as configured, eagerly is at every step.
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
    from bench.lazy_vgg import study_lazy_vgg, study_lines

    from medstyle_gan.errors import UserError
    from medstyle_gan.volumes import atomic_file

    try:
        result = study_lazy_vgg(args.overrides, args.seeds, args.steps, args.quick, _say)
        print("\n".join(study_lines(result)), flush=True)
        if args.quick:
            print("\n--quick is a smoke test: its figures say nothing about the product")
        if args.json:
            text = json.dumps({"quick": args.quick, "lazy_vgg": result}, indent=2)
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
    parser.add_argument(
        "--seeds", type=_seeds, help="a pair of runs each, such as 0,1,2 (default: that)"
    )
    parser.add_argument("--steps", type=_positive, help="of each run (default: 600)")
    parser.add_argument("--quick", action="store_true", help="a smoke test: tiny, no claims")
    args = parser.parse_intermixed_args(argv)
    for name, (full, quick) in {"seeds": ([0, 1, 2], [0]), "steps": (600, 8)}.items():
        if getattr(args, name) is None:
            setattr(args, name, quick if args.quick else full)
    return args


def _seeds(text: str) -> list[int]:
    try:
        seeds = [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of seeds, such as 0,1,2") from None
    if len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise argparse.ArgumentTypeError(f"{text} has a seed twice, or one below 0")
    return seeds


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return value


def _say(line: str) -> None:
    print(f"[{line}]", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
