"""`medstyle info`: the card of a run or a bundle."""

from __future__ import annotations

import argparse
import json
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("model", metavar="MODEL", help="run folder, or a bundle of any format")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the card as JSON, too")


def run(args: argparse.Namespace) -> int:
    """Prints the card; of a run whose training has not ended, that of its last checkpoint.

    Raises:
        UserError: for what is no model.
    """
    from medstyle_gan.inference import describe_model, format_card, load_bundle
    from medstyle_gan.training.exporting import checkpoint_bundle, has_model

    bundle = load_bundle(args.model) if has_model(args.model) else checkpoint_bundle(args.model)
    facts = describe_model(bundle)
    print(format_card(facts), end="")
    if args.json:
        from medstyle_gan.volumes import atomic_file

        with atomic_file(args.json) as file:
            file.write((json.dumps(facts, indent=2) + "\n").encode())
    return 0
