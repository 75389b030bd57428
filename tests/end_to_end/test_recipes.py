"""Every recipe in configs/ trains on a phantom of its kind, with nothing changed but sizes."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medstyle_gan.cli import main
from medstyle_gan.config import load_config
from medstyle_gan.data.phantom import write_phantom_collections
from tests.conftest import REPOSITORY
from tests.end_to_end.tiny import SHAPE, SIZES, SIZES_3D, assert_same_geometry

KINDS = {
    "mr_t1_to_t2": "mr_t1_to_t2",
    "mr_t1_to_t2_3d": "mr_t1_to_t2",
    "mr_scanner_harmonization": "mr_scanner",
    "cbct_to_ct": "cbct_to_ct",
    "contrast_enhancement": "mr_contrast",
}
RECIPES = sorted((REPOSITORY / "configs").glob("*.yaml"))


def test_every_recipe_is_here() -> None:
    assert {recipe.stem for recipe in RECIPES} == KINDS.keys()


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_recipe_trains_and_translates_a_phantom_of_its_kind(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = write_phantom_collections(tmp_path, subjects=3, shape=SHAPE, kind=KINDS[recipe.stem])
    run, out = tmp_path / "run", tmp_path / "out"
    command = ["train", "--config", str(recipe), "--scans", str(folders.scans)]
    command += ["--style", str(folders.style), "--pairs", str(folders.pairs), "-o", str(run)]
    recipes_own = load_config(recipe)
    sizes = SIZES_3D if recipes_own.data.dims == 3 else SIZES
    assert main([*command, *sizes, "training.steps=1"]) == 0

    used = load_config(run / "config.yaml")
    assert used.loss == recipes_own.loss
    assert used.data.intensity == recipes_own.data.intensity
    assert used.data.augmentation == recipes_own.data.augmentation
    with (run / "metrics.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert all(np.isfinite(float(value)) for value in row.values())
    # What a recipe weighs is there from the first step on, and nothing else.
    for term, name in (
        (used.loss.cycle, "cycle_scan"),
        (used.loss.identity, "identity_scan"),
        (used.loss.perceptual, "perceptual_scan_to_style"),
        (used.loss.style, "style_scan_to_style"),
        (used.loss.total_variation, "total_variation_scan_to_style"),
    ):
        assert (float(row.get(f"loss/{name}", 0)) > 0) == (term.weight > 0), name
    assert float(row["validation/psnr"]) > 0

    scan = sorted(folders.scans.iterdir())[0]
    assert main(["translate", str(run), str(scan), "-o", str(out)]) == 0
    assert_same_geometry(out / scan.name, scan)
    scale = json.loads((out / f"{scan.name[:-7]}.json").read_text())["intensity"]
    if recipe.stem == "cbct_to_ct":
        # Hounsfield units: the window of the recipe, air outside, whole numbers.
        assert scale["input_scale"] == scale["output_scale"]
        assert scale["output_scale"]["center"] == 488
        assert scale["background"] == pytest.approx(-1000, abs=30)
        voxels = np.asarray(nib.load(out / scan.name).dataobj)
        assert voxels.dtype == np.int16
        assert voxels.min() >= -1024
        assert voxels.max() <= 2000
    else:
        assert 0 <= scale["background"] < 0.1 * 2 * scale["output_scale"]["half_range"]
