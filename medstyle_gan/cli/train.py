"""`medstyle train`: learn to translate between two collections."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

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
    parser.add_argument(
        "--resume", action="store_true", help="go on with the run in RUN, with its own config"
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
    from medstyle_gan.errors import UserError

    if args.resume and args.out and not args.config:
        args.config = _config_of_run(Path(args.out))
    config = resolve_config(
        args,
        {
            **collection_options(args),
            "data.pairs.folder": args.pairs,
            "logging.wandb": args.wandb,
            "training.devices": args.devices,
            "training.nodes": args.nodes,
        },
    )
    if not args.out:
        raise UserError("no run folder given; say where with -o RUN")
    from medstyle_gan.training import train
    from medstyle_gan.training.processes import is_first_process

    folder = train(
        config, args.out, args.resume, lambda line: print(line, file=sys.stderr), args.profile
    )
    if is_first_process():
        print(f"model: {folder / 'model'}")
        print(f"translate with: medstyle translate {shlex.quote(str(folder))} SCAN... -o OUT")
    return 0


def _config_of_run(folder: Path) -> str:
    from medstyle_gan.errors import UserError

    path = folder / "config.yaml"
    if not path.exists():
        raise UserError(f"{folder}: no run there to resume (config.yaml is missing)")
    return str(path)
