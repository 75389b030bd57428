"""`medstyle stylize`: the look of pictures or volumes on one picture or volume."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from medstyle_gan.cli.options import (
    add_config_arguments,
    add_device_argument,
    resolve_config,
    split_paths,
)
from medstyle_gan.errors import UserError

if TYPE_CHECKING:
    from medstyle_gan.config import Config
    from medstyle_gan.inference import Stylized
    from medstyle_gan.methods import Iteration

DEFAULT_METHOD = "gatys"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument(
        "content",
        metavar="CONTENT",
        nargs="*",
        help="picture (PNG, JPEG) or volume (NIfTI, NRRD, MetaImage, a DICOM file or the folder of "
        "a series); settings such as method.steps=100 may stand beside it",
    )
    parser.add_argument(
        "--style",
        metavar="STYLE",
        nargs="+",
        help="one or several pictures or volumes that it is to look like "
        "(stylize.style_weights=[2,1] blends them)",
    )
    parser.add_argument(
        "-o",
        "--out",
        metavar="OUT",
        help=".png for a picture; .nii.gz, .nii, .gif or .mp4 for a volume; or a folder",
    )
    parser.add_argument("--method", metavar="NAME", help=f"default: {DEFAULT_METHOD}")
    parser.add_argument("--model", metavar="M", help="run or bundle of a method that was trained")
    parser.add_argument(
        "--mask",
        metavar="MASK",
        nargs="+",
        help="where the style goes, on the content's grid: one file for all styles, or one each; "
        "with stylize.highlight.region=auto the region of interest, which stays as it is",
    )
    parser.add_argument(
        "--no-mark", action="store_true", help="no visible SYNTHETIC in pictures (sidecars stay)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace what exists at OUT")
    add_device_argument(parser)
    add_config_arguments(parser, positionals=False)


def run(args: argparse.Namespace) -> int:
    """Stylises one picture or volume.

    Raises:
        UserError: for an input, a setting or an output that is refused.
    """
    contents, args.overrides = split_paths(args.content)
    styles, among_styles = split_paths(args.style)
    masks, among_masks = split_paths(args.mask)
    args.overrides += among_styles + among_masks
    config = resolve_config(args, {"method.name": args.method}, DEFAULT_METHOD)
    if len(contents) != 1:
        raise UserError(
            f"{len(contents)} contents given; give one picture or volume"
            + (f", not {' and '.join(contents)}" if contents else "")
        )
    if not args.out:
        raise UserError("no output given; say where with -o OUT")
    return _stylize(args, config, contents[0], styles, masks)


def _stylize(
    args: argparse.Namespace, config: Config, content: str, styles: list[str], masks: list[str]
) -> int:
    from tqdm import tqdm

    from medstyle_gan.inference import plan_outputs, save_stylized, stylize
    from medstyle_gan.inference.stylize_inputs import as_image
    from medstyle_gan.inference.stylize_outputs import grey_for_dicom

    image = as_image(content, "content")
    outputs = plan_outputs(
        content,
        args.out,
        config.inference.picture_output,
        args.overwrite,
        [*styles, *masks],
        config.stylize.dicom_output,
    )
    config = grey_for_dicom(config, outputs)
    if config.vgg.weights.startswith("random:"):
        _say(
            f"vgg.weights={config.vgg.weights}: a VGG-19 with seeded random weights knows less "
            "of styles than a trained one; with a network give vgg.weights=imagenet"
        )
    with tqdm(file=sys.stderr, unit="it", dynamic_ncols=True) as bar:
        progress = _Progress(bar, config)
        result = stylize(
            image,
            list(styles),
            config,
            mask=list(masks) or None,
            model=args.model,
            device=args.device,
            on_iteration=progress,
            on_slice=progress.slice_done,
            on_message=lambda line: tqdm.write(f"medstyle: {line}", file=sys.stderr),
        )
    save_stylized(result, outputs, mark=not args.no_mark)
    print("\n".join(_summary(result)))
    print(f"{content} -> {outputs.image}")
    return 0


class _Progress:
    """Iterations of all slices and scales on one bar, with the parts of the loss.

    Of a method that does not iterate, the slices.
    """

    def __init__(self, bar: Any, config: Config) -> None:
        self._bar = bar
        self._scales = getattr(config.method, "scales", 1)
        self._steps = getattr(config.method, "steps", 1)

    def __call__(self, index: int, count: int, iteration: Iteration) -> None:
        per_slice = self._scales * self._steps
        self._bar.total = count * per_slice
        done = index * per_slice + iteration.scale * self._steps + iteration.number
        slices = f"slice {index + 1}/{count} " if count > 1 else ""
        parts = " ".join(f"{name} {value:.3g}" for name, value in iteration.parts.items())
        self._bar.set_description_str(f"{slices}loss {iteration.loss:.4g}", refresh=False)
        self._bar.set_postfix_str(parts, refresh=False)
        self._bar.update(done - self._bar.n)

    def slice_done(self, done: int, count: int) -> None:
        """Take the slices that are done."""
        per_slice = self._scales * self._steps
        self._bar.total = count * per_slice
        self._bar.update(done * per_slice - self._bar.n)


def _summary(result: Stylized) -> list[str]:
    facts = result.facts
    lines = []
    if result.curve:
        parts = ", ".join(
            f"{name} {value:.4g}"
            for name, value in result.curve[-1].items()
            if name not in ("slice", "scale", "iteration")
        )
        lines.append(f"{len(result.curve)} iterations; at the end {parts}")
    if facts.get("adjacent_slice_difference_ratio") is not None:
        lines.append(
            "neighbouring slices differ "
            f"{facts['adjacent_slice_difference_ratio']:.3f} times as much as in the content"
        )
    if (lit := facts.get("highlight")) is not None:
        lines.append(
            f"region of interest ({lit['region']}): {lit['voxels']:,} voxels, changed by at most "
            f"{lit['largest_change']:.4g} {lit['unit']} (bound {lit['bound']:.4g})"
        )
    lines.append(f"gradients correlate with the content's by {facts['gradient_correlation']:.3f}")
    return lines


def _say(line: str) -> None:
    print(f"medstyle: {line}", file=sys.stderr)
