"""What the benchmarks' command lines share; it needs no package, as those may be missing yet."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.environment import enter_environment


def arguments(description: str | None) -> argparse.ArgumentParser:
    """A parser of what every benchmark takes: settings, `--json` and `--quick`."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "overrides", metavar="key.path=value", nargs="*", help="settings, as of `medstyle train`"
    )
    parser.add_argument("--json", metavar="FILE", help="write the figures here too")
    parser.add_argument("--quick", action="store_true", help="a smoke test: tiny, no claims")
    return parser


def parse(
    parser: argparse.ArgumentParser,
    argv: Sequence[str] | None,
    defaults: Mapping[str, tuple[Any, Any]],
) -> argparse.Namespace:
    """Parse a command line.

    Args:
        parser: as `arguments` makes it, with the benchmark's own arguments added.
        argv: None takes the program's.
        defaults: argument → its value in full and with `--quick`, where it is not given.
    """
    args = parser.parse_intermixed_args(argv)
    for name, (full, quick) in defaults.items():
        if getattr(args, name) is None:
            setattr(args, name, quick if args.quick else full)
    return args


def run(
    script: Path, args: argparse.Namespace, measure: Callable[[argparse.Namespace], dict[str, Any]]
) -> int:
    """Measure in the repository's own environment, and write the JSON.

    Args:
        script: the benchmark's file, in the folder `scripts`.
        args: as `parse` gives them.
        measure: prints the figures and gives them.

    Returns:
        The exit code.
    """
    repository = str(script.resolve().parents[1])
    if repository not in sys.path:
        sys.path.insert(0, repository)
    enter_environment(script)
    from medstyle_gan.errors import UserError
    from medstyle_gan.volumes import atomic_file

    try:
        result = measure(args)
        if args.quick:
            print("\n--quick is a smoke test: its figures say nothing about the product")
        if args.json:
            with atomic_file(args.json) as file:
                file.write((json.dumps(result, indent=2) + "\n").encode())
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def part_names(known: Sequence[str]) -> Callable[[str], list[str]]:
    """Reads an argument such as `step,data` as a list of known parts."""

    def read(text: str) -> list[str]:
        names = text.split(",")
        unknown = sorted(set(names) - set(known))
        if unknown:
            raise argparse.ArgumentTypeError(f"no part {', '.join(unknown)}; {', '.join(known)}")
        return names

    return read


def positive(text: str) -> int:
    """An argument's whole number of 1 or more."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return value


def show(lines: Sequence[str]) -> None:
    """Print lines at once."""
    print("\n".join(lines), flush=True)


def say(line: str) -> None:
    """Print a line of progress."""
    print(f"[{line}]", file=sys.stderr, flush=True)


def median_ratio(
    name: str, ours: Sequence[float], theirs: Sequence[float], target: float
) -> dict[str, Any]:
    """The ratio of two contenders' median times, for `verdicts`.

    Args:
        name: in the table.
        ours: seconds, one a round.
        theirs: likewise, in the same rounds.
        target: largest wanted ratio.
    """
    each = [a / b for a, b in zip(ours, theirs, strict=True)]
    return {
        "name": name,
        "value": round(statistics.median(ours) / statistics.median(theirs), 3),
        "target": target,
        "rounds": [round(min(each), 3), round(max(each), 3)],
    }


def verdicts(part: Mapping[str, Any]) -> list[str]:
    """Each ratio, beside its target where it has one."""
    lines = []
    for ratio in part["ratios"]:
        at_least = ratio.get("at_least", False)
        value, target = ratio["value"], ratio["target"]
        line = f"  {ratio['name']:40} {value:.3f}"
        if target is not None:
            met = "met" if (value >= target if at_least else value <= target) else "MISSED"
            line += f"  target {'≥' if at_least else '≤'} {target}: {met}"
        if spread := ratio.get("rounds"):
            line += f"  (rounds {spread[0]:.3f} to {spread[1]:.3f})"
        lines.append(line)
    return lines


def seeds(text: str) -> list[int]:
    """An argument such as `0,1,2`."""
    try:
        seeds = [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of seeds, such as 0,1,2") from None
    if len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise argparse.ArgumentTypeError(f"{text} has a seed twice, or one below 0")
    return seeds
