"""`medstyle train`: learn to translate between two collections."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from medstyle_gan.cli.auto_plan import planned_options
from medstyle_gan.cli.options import (
    add_collection_arguments,
    add_config_arguments,
    collection_options,
    resolve_config,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's options."""
    add_collection_arguments(parser)
    parser.add_argument("--pairs", metavar="DIR", help="registered pairs, for scoring only")
    parser.add_argument("-o", "--out", metavar="RUN", help="run folder, new or empty")
    start = parser.add_mutually_exclusive_group()
    start.add_argument(
        "--resume", action="store_true", help="go on with the run in RUN, with its own config"
    )
    start.add_argument(
        "--resume-or-start",
        action="store_true",
        help="go on with RUN where it has a checkpoint, else start it: one command for a job "
        "and all its requeues",
    )
    parser.add_argument(
        "--max-time",
        metavar="T",
        help="stop with a checkpoint and exit code 75 after T: 90m, 12h, 3d, HH:MM:SS or "
        "D-HH:MM:SS",
    )
    parser.add_argument(
        "--wandb", choices=["off", "offline", "online"], help="Weights & Biases (default: off)"
    )
    parser.add_argument(
        "--profile",
        action="store_true",
        help="look into some steps: trace and table in RUN/profile",
    )
    parser.add_argument("--devices", type=int, metavar="N", help="processes or GPUs, each node")
    parser.add_argument(
        "--nodes", type=int, metavar="M", help="machines, each started by torchrun or srun"
    )
    add_config_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Trains, or goes on training."""
    began = time.monotonic()
    from medstyle_gan.errors import UserError

    if args.resume and args.out and not args.config:
        args.config = _config_of_run(Path(args.out))
    options = {
        **collection_options(args),
        "data.pairs.folder": args.pairs,
        "logging.wandb": args.wandb,
        "training.devices": args.devices,
        "training.nodes": args.nodes,
        "training.max_time": args.max_time,
    }
    planned, notice = ({}, None) if args.config else planned_options(args, options)
    config = resolve_config(args, {**options, **planned})
    if not args.out:
        raise UserError("no run folder given; say where with -o RUN")
    from medstyle_gan.training import train
    from medstyle_gan.training.processes import is_first_process

    resume: bool | Literal["if_started"] = "if_started" if args.resume_or_start else args.resume
    folder = train(
        config,
        args.out,
        resume,
        _with_notice(notice),
        args.profile,
        began,
    )
    if is_first_process():
        print(f"model: {folder / 'model'}")
        from medstyle_gan.methods import METHODS, STYLE_TRANSFERS

        name, run_folder = config.method.name, shlex.quote(str(folder))
        if METHODS[name].directions:
            print(f"translate with: medstyle translate {run_folder} SCAN... -o OUT")
        if name in STYLE_TRANSFERS:
            style = "--style STYLE " if STYLE_TRANSFERS[name].takes_style else ""
            print(
                f"stylize with: medstyle stylize CONTENT {style}--method {name} "
                f"--model {run_folder} -o OUT"
            )
    return 0


def _with_notice(notice: str | None) -> Callable[[str], None]:
    """Says lines, after the first one a notice: a mistake in the data is told alone."""
    waiting = [] if notice is None else [notice]

    def say(line: str) -> None:
        print(line, file=sys.stderr)
        while waiting:
            print(waiting.pop(), file=sys.stderr)

    return say


def _config_of_run(folder: Path) -> str:
    from medstyle_gan.errors import UserError

    path = folder / "config.yaml"
    if not path.exists():
        raise UserError(f"{folder}: no run there to resume (config.yaml is missing)")
    return str(path)
