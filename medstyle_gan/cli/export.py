"""`medstyle export`: a model as a bundle, for other machines and other tools."""

from __future__ import annotations

import argparse

from medstyle_gan.cli.options import add_config_arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("run", metavar="RUN", help="run folder of medstyle train, or a bundle")
    parser.add_argument(
        "-o", "--out", metavar="BUNDLE", required=True, help="the new bundle's folder"
    )
    parser.add_argument(
        "--format",
        choices=("safetensors", "onnx", "monai"),
        default="safetensors",
        help="safetensors: weights and YAML; onnx: graphs for onnxruntime (extra onnx); monai: a "
        "MONAI bundle (default: %(default)s)",
    )
    parser.add_argument(
        "--checkpoint",
        metavar="WHICH",
        help="last, best, or a checkpoint's file: export its weights in place of the run's model/",
    )
    add_config_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Exports.

    Raises:
        UserError: for what is no model, an output that is in use, and missing extras.
    """
    from dataclasses import replace

    from medstyle_gan.cli.model_settings import resolve_inference
    from medstyle_gan.inference import export_bundle, load_bundle
    from medstyle_gan.training.exporting import checkpoint_bundle

    if args.checkpoint is None:
        bundle = load_bundle(args.run)
    else:
        bundle = checkpoint_bundle(args.run, args.checkpoint)
    config = resolve_inference(bundle.config, args.config, args.overrides)
    if args.print_config:
        from medstyle_gan.config import dump_config

        print(dump_config(config), end="")
        return 0
    folder = export_bundle(replace(bundle, config=config), args.out, args.format)
    print(f"{args.format} bundle -> {folder}")
    return 0
