"""`medstyle panel`: original, stylised and labels side by side, for teaching."""

from __future__ import annotations

import argparse

from medstyle_gan.cli.options import add_config_arguments, resolve_config, split_overrides
from medstyle_gan.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument(
        "content",
        metavar="CONTENT",
        nargs="*",
        help="the original: a picture, a volume or the folder of a DICOM series; settings such as "
        "panel.slices=[10,20] may stand beside it",
    )
    parser.add_argument(
        "--stylised",
        metavar="FILE",
        nargs="+",
        help="one or several images that medstyle stylize or translate made of it, on its grid",
    )
    parser.add_argument(
        "--labels",
        metavar="FILE",
        help="a segmentation on its grid: whole numbers, 0 being nothing; of a picture a grey PNG",
    )
    parser.add_argument(
        "-o",
        "--out",
        metavar="OUT",
        help=".png, .pdf or .html (one file that needs no network); or a folder for all of "
        "panel.formats",
    )
    parser.add_argument(
        "--no-mark",
        action="store_true",
        help="no visible SYNTHETIC in stylised images, and no footer (metadata and sidecar stay)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace what exists at OUT")
    add_config_arguments(parser, positionals=False)


def run(args: argparse.Namespace) -> int:
    """Builds a panel.

    Raises:
        UserError: for an input, a setting or an output that is refused.
    """
    contents, args.overrides = split_overrides(args.content)
    stylised, more = split_overrides(args.stylised or ())
    args.overrides += more
    config = resolve_config(args)
    if len(contents) != 1:
        raise UserError(
            f"{len(contents)} contents given; give one picture or volume"
            + (f", not {' and '.join(contents)}" if contents else "")
        )
    if not stylised:
        raise UserError("no stylised image given; say what stands beside it with --stylised FILE")
    if not args.out:
        raise UserError("no output given; say where with -o OUT")

    from medstyle_gan.inference.panels.inputs import load_panel_images
    from medstyle_gan.inference.panels.outputs import plan_panel, save_panel
    from medstyle_gan.inference.panels.panel import build_panel

    inputs = [*contents, *stylised, *([args.labels] if args.labels else [])]
    files = plan_panel(args.out, config, args.overwrite, inputs)
    images = load_panel_images(contents[0], stylised, args.labels, config)
    panel = build_panel(images, config, mark=not args.no_mark)
    save_panel(panel, images, files)
    for file in files:
        print(f"{contents[0]} -> {file}")
    return 0
