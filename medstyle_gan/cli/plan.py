"""`medstyle plan`: from two collections and this machine to a config with reasons."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from medstyle_gan.cli.options import (
    add_collection_arguments,
    add_config_arguments,
    collection_options,
    resolve_config,
    room_for_patches,
)

if TYPE_CHECKING:
    from medstyle_gan.config import Config
    from medstyle_gan.training.planning import Plan


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's options."""
    add_collection_arguments(parser)
    parser.add_argument("--pairs", metavar="DIR", help="registered pairs, kept out of training")
    parser.add_argument("-o", "--out", metavar="FILE", type=Path, help="the plan, a new YAML file")
    parser.add_argument(
        "--time",
        metavar="T",
        default="12h",
        help="time that the training may take: 90m, 12h, 3d, HH:MM:SS (default: %(default)s)",
    )
    parser.add_argument(
        "--no-trial", action="store_true", help="estimate alone, without 20 steps of training"
    )
    parser.add_argument("--json", metavar="FILE", type=Path, help="facts and figures as JSON")
    add_config_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Looks at both collections and the machine, decides, tries and writes the plan.

    Raises:
        UserError: A collection cannot be used, or the file is there already.
    """
    from medstyle_gan.errors import UserError

    options = {**collection_options(args), "data.pairs.folder": args.pairs}
    config = resolve_config(args, {**options, **room_for_patches(args)})
    budget = _seconds(args.time)
    if args.out is None:
        raise UserError("no file given for the plan; say where with -o plan.yaml")
    if args.json is not None and args.json.absolute() == args.out.absolute():
        raise UserError(f"--json {args.json}: that is the plan's own file; choose another name")
    for path in (args.out, args.json):
        if path is not None:
            _refuse_used(path)
    from medstyle_gan.training.planning import run_trial, write_plan
    from medstyle_gan.training.planning.text import decision_lines, facts_lines, figures_lines

    plan = _planned(args, config, options, budget)
    print("\n".join([*facts_lines(plan), "", *decision_lines(plan), ""]))
    trial = None
    if not args.no_trial:
        estimate, *_ = figures_lines(plan, None)
        print(f"{estimate}\ntrying 20 steps ...", file=sys.stderr)
        trial = run_trial(plan.config, plan.read)
    print("\n".join(figures_lines(plan, trial)))
    _write(args.out, write_plan(plan, trial))
    if args.json is not None:
        figures = {**plan.as_dict(), "trial": None if trial is None else asdict(trial)}
        _write(args.json, json.dumps(figures, indent=2) + "\n")
    print(f"plan: {args.out}   train with: medstyle train --config {args.out} -o RUN")
    return 0


def _planned(
    args: argparse.Namespace, config: Config, options: Mapping[str, object], budget: float
) -> Plan:
    from medstyle_gan.config import given_keys
    from medstyle_gan.data.progress import FilesProgress
    from medstyle_gan.errors import UserError
    from medstyle_gan.training.planning import make_plan
    from medstyle_gan.training.planning.planner import unusable_message

    given = given_keys(args.config, args.overrides, options=options)
    with FilesProgress("reading") as progress:
        plan = make_plan(config, given, budget, on_progress=progress.show)
    if plan.unusable:
        raise UserError(unusable_message(plan.unusable))
    return plan


def _seconds(time: str) -> float:
    from medstyle_gan.config.durations import seconds_in
    from medstyle_gan.errors import UserError

    try:
        return seconds_in(time)
    except ValueError as error:
        raise UserError(f"--time: {error}") from None


def _refuse_used(path: Path) -> None:
    """Before anything is read: a plan may have been edited, and is not overwritten."""
    from medstyle_gan.errors import UserError
    from medstyle_gan.volumes import ensure_writable_folder

    if path.exists():
        raise UserError(f"{path}: exists already; choose another name, or remove it")
    folder = path.absolute().parent
    ensure_writable_folder(next(p for p in (folder, *folder.parents) if p.exists()))


def _write(path: Path, text: str) -> None:
    from medstyle_gan.volumes import atomic_file

    _refuse_used(path)  # something may have come there meanwhile
    with atomic_file(path) as file:
        file.write(text.encode())
