from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from medstyle_gan.errors import UserError
from medstyle_gan.volumes import read_volume
from tests.scripts.conftest import LoadScript

TINY = [
    "data.sample_size=[24,24]",
    "data.spacing=[9,9,null]",
    "generator.ngf=4",
    "generator.blocks=1",
    "discriminator.ndf=4",
    "discriminator.layers=1",
    "loss.perceptual.weight=0",
    "loss.perceptual.reconstruction_weight=0",
    "loss.style.weight=0",
    "data.workers=0",
]
NAMES = {
    "translation",
    "network alone",
    "doing_nothing",
    "percentile_matching",
    "histogram_matching",
    "CLAHE",
    "smoothing",
    "true high contrast",
}


@pytest.fixture
def script(load_script: LoadScript) -> Any:
    return load_script("recipe_contrast")


def openms_like(folder: Path) -> Path:
    """Heads of three tissues in two contrasts, named as the openms volumes are."""
    shape, spacing = (56, 56, 14), 3.5
    grids = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    radius = np.sqrt(grids[0] ** 2 + grids[1] ** 2 + 0.2 * grids[2] ** 2)
    region = np.digitize(radius, [0.2, 0.4, 0.72, 0.9])  # fluid, white, grey, scalp, air
    rng = np.random.default_rng(0)

    def save(path: Path, values: tuple[float, ...], noise: float = 8) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        array = np.array(values)[region] + noise * rng.standard_normal(shape)
        affine = np.diag([-spacing, -spacing, 3, 1])
        nib.save(nib.Nifti1Image(array.clip(0).astype(np.uint16), affine), path)

    t1, t2 = (150.0, 600.0, 400.0, 700.0, 0.0), (900.0, 250.0, 450.0, 300.0, 0.0)
    for name in ("patient01_study1", "patient01_study2", "patient03_study2", "patient19_study2"):
        save(folder / "scans_T1" / f"{name}_T1W.nii.gz", t1)
    pair = folder / "val_pairs" / "patient12_s1"
    save(pair / "T1W.nii.gz", t1)
    save(pair / "T2W.nii.gz", t2)
    save(pair / "mask.nii.gz", (1, 1, 1, 1, 0), noise=0)
    return folder


def test_the_table_the_json_and_the_picture_are_made_and_made_again(
    script: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    openms = openms_like(tmp_path / "openms")
    arguments = ["-o", str(tmp_path / "out"), "--openms", str(openms), "--steps", "1", *TINY]
    assert script.main(arguments) == 0
    printed = capsys.readouterr().out
    figures = json.loads((tmp_path / "out" / "contrast.json").read_text())
    for data in ("phantoms", "openms"):
        assert data in printed
        rows = {row["name"]: row for row in figures["rows"] if row["data"] == data}
        assert set(rows) == NAMES
        assert rows["doing_nothing"]["kept"] == 1
        # Each slice's own correlation is held to 0.95, in another mask's interior.
        assert rows["translation"]["kept"] > max(0.8, rows["network alone"]["kept"])
        truth = rows["true high contrast"]
        assert truth["true_edges"] == truth["ssim"] == 1
        assert truth["grey_white"] > 1.5 * rows["doing_nothing"]["grey_white"]
        # A gain and an offset, but for what is clipped.
        matched = rows["percentile_matching"]["grey_white"]
        assert matched == pytest.approx(rows["doing_nothing"]["grey_white"], rel=0.02)
    picture = tmp_path / "out" / "contrast_enhancement.png"
    assert Image.open(picture).size[0] > 1000

    picture.unlink()
    weights = (tmp_path / "out" / "phantoms" / "run" / "model" / "model.yaml").stat().st_mtime_ns
    assert script.main(arguments) == 0
    assert picture.is_file()
    model = tmp_path / "out" / "phantoms" / "run" / "model" / "model.yaml"
    assert model.stat().st_mtime_ns == weights


def test_a_folder_without_the_volumes_is_refused(script: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="scans_T1"):
        script.write_openms_collections(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_estimated_tissues_are_the_true_ones(script: Any, tmp_path: Path) -> None:
    estimate_tissues = importlib.import_module("recipes.low_contrast").estimate_tissues
    pair = openms_like(tmp_path) / "val_pairs" / "patient12_s1"
    volumes = {name: read_volume(pair / f"{name}.nii.gz") for name in ("T1W", "T2W", "mask")}
    labels = estimate_tissues(**volumes)
    truth = np.asarray(volumes["T1W"].array)
    for tissue, value in ((4, 150), (5, 400), (6, 600)):
        assert (labels == tissue).sum() > 50
        assert abs(truth[labels == tissue].mean() - value) < 10
