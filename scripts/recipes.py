#!/usr/bin/env python3
"""Makes the pictures of docs/recipes.md: visual effect, highlighting, teaching material.

    scripts/recipes.sh                      # writes docs/{visual_effect,highlight,teaching}.png
    scripts/recipes.sh --parts teaching -o /tmp/pictures

Each part is what a user does: `medstyle stylize` with a recipe of configs/, then `medstyle panel`.
Only sizes and iterations are smaller, and the VGG-19 has seeded random weights, so that it runs
offline and in minutes; that asks for shallower layers (deep ones of a random network know nothing).
The styles are of our own making (illustrations.py). The scan of the visual effect is one of the
openms volumes where they are (--data), all else synthetic phantoms.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

# Where `python -I` leaves the script's own folder out.
if (scripts := str(Path(__file__).resolve().parent)) not in sys.path:
    sys.path.insert(0, scripts)

import nibabel as nib
import numpy as np
from illustrations import hatching, watercolour, woodcut
from scipy.ndimage import map_coordinates

from medstyle_gan.cli import main as medstyle
from medstyle_gan.data.phantom import Tissue, make_phantom
from medstyle_gan.volumes import Geometry, read_volume, write_picture, write_volume

REPOSITORY = Path(__file__).resolve().parents[1]
PARTS = ("visual_effect", "highlight", "teaching")
_SEED = 3
_RANDOM = ["vgg.weights=random:0", "loss.style.layers=[relu1_1,relu2_1,relu3_1]"]
_SCAN = "scans_T1/patient19_study2_T1W.nii.gz"


def main(argv: list[str] | None = None) -> int:
    """Makes the pictures; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("-o", "--out", type=Path, default=REPOSITORY / "docs")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument(
        "--data", type=Path, default=REPOSITORY.parent / "shared/data/openms", help="openms volumes"
    )
    parser.add_argument("--steps", type=int, default=40, help="iterations at each scale")
    parser.add_argument("--size", type=int, default=168, help="side of the slices (pixels)")
    args = parser.parse_args(argv)
    makers = {"visual_effect": visual_effect, "highlight": highlight, "teaching": teaching}
    args.out.mkdir(parents=True, exist_ok=True)
    for part in args.parts:
        with tempfile.TemporaryDirectory() as folder:
            makers[part](Path(folder), args)
            shutil.copyfile(Path(folder) / "panel.png", args.out / f"{part}.png")
        print(f"written: {args.out / part}.png")
    return 0


def visual_effect(folder: Path, args: argparse.Namespace) -> None:
    """A scan as a woodcut and as a watercolour, each beside its style."""
    content = folder / "scan.png"
    write_picture(content, _scan_slice(args.data / _SCAN, args.size))
    shown = []
    for name, style, weight in (("woodcut", woodcut, 0.3), ("watercolour", watercolour, 0.08)):
        path, result = folder / f"{name}.png", folder / f"{name}_result.png"
        write_picture(path, _finer(style(2 * args.size)))
        own = [f"method.steps={args.steps}", f"loss.perceptual.weight={weight}"]
        _run("stylize", content, "--style", path, *_recipe("visual_effect"), "-o", result, *own)
        shown += [path, result]
    captions = "[scan, a woodcut, scan as a woodcut, a watercolour, scan as a watercolour]"
    _panel(folder, content, shown, [f"panel.captions={captions}", f"panel.tile={args.size}"])


def highlight(folder: Path, args: argparse.Namespace) -> None:
    """Lesions of a phantom in a drawing, in a muted slice, and a region that is proposed."""
    phantom = make_phantom(_SEED, (args.size, args.size, 8), lesions=True)
    z = int(phantom.lesion_mask.sum(axis=(0, 1)).argmax())
    affine = phantom.affine.copy()
    affine[:3, 3] += z * affine[:3, 2]
    geometry = Geometry.from_affine((args.size, args.size, 1), affine)
    content, mask = folder / "scan.nii.gz", folder / "mask.nii.gz"
    write_volume(content, phantom.scan[:, :, z : z + 1], geometry, phantom.dtype)
    write_volume(mask, phantom.lesion_mask[:, :, z : z + 1], geometry)
    style = folder / "style.png"
    write_picture(style, _finer(hatching(2 * args.size)))
    drawn, muted, proposed = (folder / f"{name}.nii.gz" for name in ("drawn", "muted", "proposed"))
    recipe = [content, *_recipe("highlight"), f"method.steps={args.steps}"]
    drawing = ["--style", style, "loss.perceptual.weight=1.5"]
    _run("stylize", *recipe, *drawing, "--mask", mask, "-o", drawn)
    _run("stylize", *recipe, "--mask", mask, "-o", muted, "stylize.highlight.rest=muted")
    proposing = ["stylize.highlight.rest=muted", "stylize.highlight.regions=3"]
    _run("stylize", *recipe, "-o", proposed, *proposing)
    captions = "[phantom, 'lesions, the rest drawn', 'lesions, the rest muted', proposed regions]"
    settings = [f"panel.captions={captions}", f"panel.tile={args.size}"]
    _panel(folder, content, [drawn, muted, proposed], settings)


def teaching(folder: Path, args: argparse.Namespace) -> None:
    """Three slices of a phantom, in a watercolour's colours, with their tissues."""
    side = args.size * 2 // 3
    phantom = make_phantom(_SEED, (side, side, 9), lesions=True)
    chosen = np.s_[:, :, 1::3]
    geometry = Geometry.from_affine(phantom.scan[chosen].shape, phantom.affine)
    scan, labels, style, result = (
        folder / name for name in ("scan.nii.gz", "labels.nii.gz", "style.png", "stylised.nii.gz")
    )
    write_volume(scan, phantom.scan[chosen], geometry, phantom.dtype)
    write_volume(labels, _taught(phantom.labels[chosen]), geometry)
    write_picture(style, watercolour(side))
    own = [f"method.steps={max(1, args.steps // 2)}", "loss.perceptual.weight=0.05"]
    _run("stylize", scan, "--style", style, *_recipe("teaching"), "-o", result, *own)
    names = "{1: fluid, 2: grey matter, 3: white matter, 4: deep grey matter, 5: lesion}"
    settings = ["--labels", labels, f"panel.label_names={names}", f"panel.tile={args.size}"]
    title = "panel.title=A synthetic head, its tissues and lesions"
    _panel(
        folder, scan, [result], [*settings, title, "--config", REPOSITORY / "configs/teaching.yaml"]
    )


def _recipe(name: str) -> list[object]:
    return ["--config", REPOSITORY / f"configs/{name}.yaml", *_RANDOM]


def _panel(folder: Path, content: Path, stylised: list[Path], more: Sequence[object]) -> None:
    formats = ["panel.formats=[png]", "-o", folder]
    _run("panel", content, "--stylised", *stylised, *more, *formats)


def _run(*command: object) -> None:
    code = medstyle([str(word) for word in command])
    if code:
        raise SystemExit(code)


def _scan_slice(path: Path, size: int) -> np.ndarray:
    """The middle axial slice, `(size, size)` uint8; a phantom's where there is no such scan."""
    if not path.is_file():
        print(f"{path} is not there: a phantom is shown", file=sys.stderr)
        phantom = make_phantom(_SEED, (size, size, 8))
        image = _upright(phantom.scan, phantom.affine)[4]
        return _grey(image, image > 0.15 * image.max())
    volume = read_volume(path)
    slices = _upright(volume.array, volume.geometry.affine)
    image = slices[len(slices) // 2].astype(np.float64)
    rows, columns = np.nonzero(image > 0.15 * np.percentile(image, 99))
    half = int(max(rows.max() - rows.min(), columns.max() - columns.min())) // 2 + 6
    top, left = (max(0, int(v.min() + v.max()) // 2 - half) for v in (rows, columns))
    image = image[top : top + 2 * half, left : left + 2 * half]
    at = (np.arange(size) + 0.5) * (min(image.shape) / size) - 0.5
    image = map_coordinates(image, np.meshgrid(at, at, indexing="ij"), order=1, mode="nearest")
    return _grey(image, image > 0.15 * np.percentile(image, 99))


def _finer(picture: np.ndarray) -> np.ndarray:
    """Half the size, so that strokes are thin: means over 2 x 2 pixels."""
    rows, columns = (side // 2 for side in picture.shape[:2])
    blocks = picture[: 2 * rows, : 2 * columns].reshape(rows, 2, columns, 2, -1)
    return np.rint(blocks.mean(axis=(1, 3))).astype(np.uint8)


def _upright(array: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Axial slices `(N, rows, columns)`, anterior up."""
    turned = nib.orientations.apply_orientation(array, nib.io_orientation(affine))
    return np.rot90(np.moveaxis(turned, 2, 0), axes=(1, 2))


def _grey(image: np.ndarray, body: np.ndarray) -> np.ndarray:
    """The body's 1st to 92nd percentile as black to white: fat under the skin is brighter."""
    low, high = np.percentile(image[body], (1, 92))
    low = min(low, np.percentile(image, 5))
    return np.rint(np.clip((image - low) / (high - low), 0, 1) * 255).astype(np.uint8)


def _taught(labels: np.ndarray) -> np.ndarray:
    """The tissues of the brain, from 1."""
    shown = (Tissue.CSF, Tissue.GREY_MATTER, Tissue.WHITE_MATTER, Tissue.DEEP_GREY, Tissue.LESION)
    found = np.zeros(labels.shape, np.uint8)
    for value, tissue in enumerate(shown, start=1):
        found[labels == tissue] = value
    return found


if __name__ == "__main__":
    sys.exit(main())
