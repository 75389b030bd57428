"""Every recipe in configs/ works on a phantom of its kind, with nothing changed but sizes."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medstyle_gan.cli import main
from medstyle_gan.config import load_config
from medstyle_gan.data.phantom import make_phantom, write_phantom_collections
from medstyle_gan.volumes import Geometry, read_shown_volume, write_picture, write_volume
from tests.conftest import REPOSITORY
from tests.end_to_end.tiny import SHAPE, SIZES, SIZES_3D, assert_same_geometry

KINDS = {
    "mr_t1_to_t2": "mr_t1_to_t2",
    "mr_t1_to_t2_3d": "mr_t1_to_t2",
    "mr_scanner_harmonization": "mr_scanner",
    "cbct_to_ct": "cbct_to_ct",
    "contrast_enhancement": "mr_contrast",
}
STYLISE = {"visual_effect", "highlight", "teaching"}  # for medstyle stylize, not train
RECIPES = sorted((REPOSITORY / "configs").glob("*.yaml"))


def test_every_recipe_is_here() -> None:
    assert {recipe.stem for recipe in RECIPES} == KINDS.keys() | STYLISE


@pytest.mark.parametrize("name", sorted(STYLISE))
def test_recipe_stylises_a_phantom_and_a_panel_shows_it(name: str, tmp_path: Path) -> None:
    phantom = make_phantom(3, (64, 64, 8), lesions=True)
    chosen = np.s_[:, :, 3:5]
    files = {n: tmp_path / f"{n}.nii.gz" for n in ("scan", "lesion", "labels", "result")}
    geometry = Geometry.from_affine(phantom.scan[chosen].shape, phantom.affine)
    write_volume(files["scan"], phantom.scan[chosen], geometry, phantom.dtype)
    write_volume(files["lesion"], phantom.lesion_mask[chosen], geometry)
    write_volume(files["labels"], phantom.labels[chosen], geometry)
    colours = np.random.default_rng(0).integers(0, 255, (64, 64, 3), "u1")
    write_picture(tmp_path / "style.png", colours)
    recipe = ["--config", str(REPOSITORY / "configs" / f"{name}.yaml")]
    command = ["stylize", str(files["scan"]), "--style", str(tmp_path / "style.png"), *recipe]
    masks = ["--mask", str(files["lesion"])] if name == "highlight" else []
    quick = ["method.steps=1", "vgg.weights=random:0", "-o", str(files["result"])]
    assert main([*command, *masks, *quick]) == 0
    facts = json.loads((tmp_path / "result.json").read_text())
    assert facts["stylised_by"]["steps"] == 1
    assert (facts.get("highlight") is not None) == (name == "highlight")
    stylised = read_shown_volume(files["result"])
    assert stylised.array.shape == (64, 64, 2, 3)
    assert stylised.geometry.same_grid(geometry)
    panel = ["panel", str(files["scan"]), "--stylised", str(files["result"]), *recipe]
    assert main([*panel, "--labels", str(files["labels"]), "-o", str(tmp_path / "panel")]) == 0
    assert len(list((tmp_path / "panel").iterdir())) == 4


@pytest.mark.parametrize(
    "recipe", [path for path in RECIPES if path.stem in KINDS], ids=lambda path: path.stem
)
def test_recipe_trains_and_translates_a_phantom_of_its_kind(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = write_phantom_collections(tmp_path, subjects=3, shape=SHAPE, kind=KINDS[recipe.stem])
    run, out = tmp_path / "run", tmp_path / "out"
    command = ["train", "--config", str(recipe), "--scans", str(folders.scans)]
    command += ["--style", str(folders.style), "--pairs", str(folders.pairs), "-o", str(run)]
    recipes_own = load_config(recipe)
    sizes = SIZES_3D if recipes_own.data.dims == 3 else SIZES
    # Registering phantoms of 3 subjects says nothing of a recipe and takes long.
    assert main([*command, *sizes, "training.steps=1", "training.warm_start.steps=0"]) == 0

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
