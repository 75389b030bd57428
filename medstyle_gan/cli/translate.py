"""`medstyle translate`: whole volumes through a trained model."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from medstyle_gan.cli.options import add_config_arguments, split_overrides
from medstyle_gan.errors import UserError

if TYPE_CHECKING:
    from medstyle_gan.config import Config
    from medstyle_gan.inference import Outcome

_BAR = "{percentage:3.0f}%|{bar}| {n:.1f}/{total} files [{elapsed}<{remaining}]"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument(
        "model", metavar="MODEL", help="run folder of medstyle train, or a bundle's folder"
    )
    parser.add_argument(
        "inputs",
        metavar="INPUT",
        nargs="+",
        help="files and folders to translate; settings such as inference.batch_size=4 may stand "
        "among them",
    )
    parser.add_argument(
        "-o", "--out", metavar="OUT", required=True, help="folder that the translations go to"
    )
    parser.add_argument(
        "--direction",
        choices=("scan_to_style", "style_to_scan"),
        default="scan_to_style",
        help="which way (default: %(default)s)",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="translate again what exists in OUT"
    )
    parser.add_argument(
        "--device",
        default="auto",
        help="auto (a GPU where there is one), cpu, cuda, cuda:1 (default: %(default)s)",
    )
    parser.add_argument(
        "--precision",
        choices=("auto", "fp32", "bf16"),
        default="auto",
        help="auto takes bf16 where the hardware has it, fp32 is exact (default: %(default)s)",
    )
    add_config_arguments(parser, positionals=False)


def run(args: argparse.Namespace) -> int:
    """Translates; 0 when all is done, 1 when some files failed.

    Raises:
        UserError: for a model, input or output that is refused, and when no file at all could
            be translated because each of them is unusable.
    """
    from tqdm import tqdm

    from medstyle_gan.inference import (
        Translator,
        load_bundle,
        plan_translation,
        run_translation,
    )

    inputs, overrides = split_overrides(args.inputs)
    bundle = load_bundle(args.model)
    config = _resolve(bundle.config, args.config, overrides)
    if args.print_config:
        from medstyle_gan.config import dump_config

        print(dump_config(config), end="")
        return 0
    if not inputs:
        raise UserError("no INPUT: give files or folders to translate")
    translator = Translator.load(
        bundle, device=args.device, precision=args.precision, inference=config.inference
    )
    jobs = plan_translation(translator, inputs, args.out, args.direction)
    outcomes: list[Outcome] = []
    with tqdm(total=len(jobs), file=sys.stderr, bar_format=_BAR) as bar:

        def show(share: float) -> None:
            bar.n = len(outcomes) + share
            bar.update(0)

        for outcome in run_translation(translator, jobs, args.direction, args.overwrite, show):
            outcomes.append(outcome)
            show(0.0)
    return _report(outcomes, args.out)


def _resolve(config: Config, file: str | None, overrides: list[str]) -> Config:
    """The model's config with the inference section of a file, or its own, overridden."""
    from medstyle_gan.config import load_config

    foreign = [o for o in overrides if not o.startswith("inference.")]
    if foreign:
        raise UserError(
            f"{', '.join(foreign)}: a trained model brings its own settings; translate takes "
            "inference.KEY=VALUE only"
        )
    own = {f"inference.{key}": value for key, value in config.inference.model_dump().items()}
    if file:  # in place of the model's settings, but for which weights the model holds
        own = {"inference.ema": config.inference.ema}
    inference = load_config(file, overrides, options=own).inference
    if inference.ema != config.inference.ema:
        raise UserError(
            f"inference.ema={str(inference.ema).lower()}: the model was saved with "
            f"{str(config.inference.ema).lower()} and holds only those weights; leave it out"
        )
    return config.model_copy(update={"inference": inference})


def _report(outcomes: list[Outcome], out: str) -> int:
    count = {s: sum(o.status == s for o in outcomes) for s in ("done", "skipped", "failed")}
    failed = [outcome for outcome in outcomes if outcome.status == "failed"]
    lines = "".join(f"\n  {outcome.reason}" for outcome in failed)
    if len(failed) == len(outcomes) and all(outcome.bad_input for outcome in failed):
        raise UserError(f"nothing was translated:{lines}" if len(failed) > 1 else failed[0].reason)
    words = [f"{count['done']} translated"]
    if count["skipped"]:
        words.append(f"{count['skipped']} skipped (they exist; --overwrite replaces them)")
    if failed:
        words.append(f"{count['failed']} failed")
    print(f"{', '.join(words)} -> {out}")
    if failed:
        print(f"medstyle: {len(failed)} of {len(outcomes)} files failed:{lines}", file=sys.stderr)
        return 1
    return 0
