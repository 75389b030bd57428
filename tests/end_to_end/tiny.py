"""The smallest settings with every term on, and looking at what a command did to a folder."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np

SHAPE = (40, 40, 8)

# Sizes alone, so that a recipe keeps all that it is about.
SIZES = [
    "data.spacing=[5,5,null]",
    "data.sample_size=[40,40]",
    "generator.ngf=4",
    "generator.blocks=1",
    "discriminator.ndf=4",
    "discriminator.layers=1",
    "vgg.weights=random:0",
]
SIZES_3D = [*SIZES, "data.spacing=[5,5,2.5]", "data.sample_size=[24,24,16]", "data.workers=0"]
TINY = [
    *SIZES,
    "loss.perceptual.layers=[relu2_1]",
    "loss.style.layers=[relu1_1,relu2_1]",
    "loss.perceptual.every_n_steps=1",
    "loss.style.every_n_steps=1",
    "loss.total_variation.weight=0.1",
    "training.steps=2",
    "logging.log_every=1",
    "logging.panel_every=1",
    "logging.panel_samples=2",
]


def train_command(
    scans: Path | str, style: Path | str, out: Path | str, *more: object
) -> list[object]:
    return ["train", "--scans", scans, "--style", style, "-o", out, *TINY, *more]


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every file and folder below a folder: when it was changed, and its bytes."""
    return {
        str(path.relative_to(folder)): (
            path.stat().st_mtime_ns if path.is_file() else 0,
            path.read_bytes() if path.is_file() else b"",
        )
        for path in sorted(folder.rglob("*"))
    }


def assert_same_geometry(path: Path, other: Path) -> None:
    """By nibabel: shape, affine, both coded forms, units, voxel sizes, NIfTI version."""
    ours, theirs = nib.load(path), nib.load(other)
    assert type(ours) is type(theirs)
    assert ours.shape == theirs.shape
    np.testing.assert_array_equal(ours.affine, theirs.affine)
    for name in ("sform_code", "qform_code", "xyzt_units", "pixdim"):
        np.testing.assert_array_equal(ours.header[name], theirs.header[name], err_msg=name)
    np.testing.assert_array_equal(ours.get_sform(), theirs.get_sform())
    np.testing.assert_array_equal(ours.get_qform(), theirs.get_qform())
