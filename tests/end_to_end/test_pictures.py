"""Colour pictures as style: grey volumes in, colour out, and a picture back to a grey one."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from medstyle_gan.cli import main
from medstyle_gan.data.phantom import PhantomFolders
from medstyle_gan.inference import Translator, load_bundle
from tests.end_to_end.full_disk import full_disk
from tests.end_to_end.tiny import TINY, assert_same_geometry

DIRECTIONS = ("scan_to_style", "style_to_scan")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Waves of colour of several sizes, as PNG and JPEG, in folders."""
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "more").mkdir()
    rng = np.random.default_rng(0)
    for number in range(4):
        height, width = 46 + 9 * number, 62
        y, x = np.mgrid[:height, :width]
        waves = [127 + 100 * np.sin(x / (4 + number)), 127 + 100 * np.cos(y / 7), 60 * number + x]
        pixels = np.stack(waves, axis=-1) + rng.normal(0, 4, (height, width, 3))
        picture = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
        name = f"more/picture{number}.jpg" if number % 2 else f"picture{number}.png"
        picture.save(folder / name)
    return folder


@pytest.fixture(scope="module")
def run(phantoms: PhantomFolders, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("colour") / "run"
    command = ["train", "--scans", str(phantoms.scans), "--style", str(pictures), *TINY]
    assert main([*command, "-o", str(out), "loss.style.target=batch"]) == 0
    return out


def read_rgb(path: Path) -> np.ndarray:
    """(X, Y, Z, 3) uint8."""
    image = nib.load(path)
    assert image.get_data_dtype() == np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
    stored = np.asarray(image.dataobj)
    return np.stack([stored[channel] for channel in "RGB"], axis=-1)


def test_check_takes_pictures_beside_volumes(
    phantoms: PhantomFolders, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["check", "--scans", str(phantoms.scans), "--style", str(pictures), *TINY]
    assert main([*command, "-o", str(tmp_path)]) == 0
    assert "picture" in capsys.readouterr().out


def test_every_loss_is_on_in_both_directions(run: Path) -> None:
    with (run / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    terms = ["adversarial", "perceptual", "style", "total_variation"]
    names = [f"loss/{term}_{direction}" for term in terms for direction in DIRECTIONS]
    terms = ["cycle", "identity", "perceptual_reconstruction"]
    names += [f"loss/{term}_{domain}" for term in terms for domain in ("scan", "style")]
    for name in names:
        assert all(float(row[name]) > 0 for row in rows), name
    assert load_bundle(run).channels == {"scan": 1, "style": 3}


def test_panels_are_in_colour(run: Path) -> None:
    with Image.open(run / "samples" / "step_000002.png") as panel:
        assert panel.mode == "RGB"
        pixels = np.asarray(panel).astype(int)
    assert np.abs(pixels[..., 0] - pixels[..., 2]).max() > 50


def test_gram_of_the_whole_collection_takes_colour(
    phantoms: PhantomFolders, pictures: Path, tmp_path: Path
) -> None:
    command = ["train", "--scans", str(phantoms.scans), "--style", str(pictures), *TINY]
    settings = ["loss.style.target=collection", "training.steps=1"]
    assert main([*command, "-o", str(tmp_path / "run"), *settings]) == 0


def test_scans_become_colour_volumes_on_their_own_grid(
    run: Path, phantoms: PhantomFolders, tmp_path: Path
) -> None:
    assert main(["translate", str(run), str(phantoms.scans), "-o", str(tmp_path)]) == 0
    for scan in phantoms.scans.iterdir():
        assert_same_geometry(tmp_path / scan.name, scan)
        colours = read_rgb(tmp_path / scan.name)
        assert colours.std() > 1
        assert not np.array_equal(colours[..., 0], colours[..., 1])
        np.testing.assert_array_equal(colours, Translator.load(run)(scan).array)


def test_scans_become_stacks_of_pngs_that_show_the_same(
    run: Path, phantoms: PhantomFolders, tmp_path: Path
) -> None:
    command = ["translate", str(run), str(phantoms.scans), "-o"]
    assert main([*command, str(tmp_path / "nifti")]) == 0
    assert main([*command, str(tmp_path / "png"), "inference.picture_output=png", "--no-mark"]) == 0
    for scan in phantoms.scans.iterdir():
        name = scan.name.removesuffix(".nii.gz")
        volume = nib.load(tmp_path / "nifti" / scan.name)
        flips = nib.io_orientation(volume.affine)
        colours = nib.apply_orientation(read_rgb(tmp_path / "nifti" / scan.name), flips)
        files = sorted((tmp_path / "png" / name).iterdir())
        assert [file.name for file in files] == [f"slice_{z:04d}.png" for z in range(8)]
        for z, file in enumerate(files):
            with Image.open(file) as picture:
                assert picture.mode == "RGB"
                # Axes R and A turned by 90°: anterior up.
                np.testing.assert_array_equal(np.asarray(picture), np.rot90(colours[:, :, z]))
        assert json.loads((tmp_path / "png" / f"{name}.json").read_text())["synthetic"] is True


def test_a_full_disk_leaves_no_part_of_a_stack(
    run: Path, phantoms: PhantomFolders, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scan = sorted(phantoms.scans.iterdir())[0]
    command = ["translate", str(run), str(scan), "-o", str(tmp_path / "out")]
    with full_disk(1_200):  # the sidecar fits, and no slice with anatomy
        assert main([*command, "inference.picture_output=png"]) == 2
    assert "cannot be written" in capsys.readouterr().err
    # What is left tells of the failure, and fits the disk.
    assert {path.name for path in (tmp_path / "out").iterdir()} <= {"manifest.csv"}


def test_pictures_become_grey_pictures_of_their_own_size(
    run: Path, pictures: Path, tmp_path: Path
) -> None:
    command = ["translate", str(run), str(pictures), "-o", str(tmp_path)]
    assert main([*command, "--direction", "style_to_scan"]) == 0
    for number in range(4):
        name = f"more/picture{number}" if number % 2 else f"picture{number}"
        (source,) = (pictures / name).parent.glob(f"picture{number}.*")
        with Image.open(source) as picture, Image.open(tmp_path / f"{name}.png") as translation:
            assert translation.mode == "L"
            assert translation.size == picture.size
            assert np.asarray(translation).std() > 0
        assert json.loads((tmp_path / f"{name}.json").read_text())["direction"] == "style_to_scan"


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_the_other_kind_of_file_is_refused(
    run: Path,
    phantoms: PhantomFolders,
    pictures: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    direction: str,
) -> None:
    wrong = pictures if direction == "scan_to_style" else phantoms.scans
    command = ["translate", str(run), str(wrong), "-o", str(tmp_path / "out")]
    assert main([*command, "--direction", direction]) == 2
    assert f"{wrong}: nothing to translate" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_pairs_for_a_colour_style_are_refused_before_the_training(
    phantoms: PhantomFolders, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", "--scans", str(phantoms.scans), "--style", str(pictures), *TINY]
    out = tmp_path / "run"
    assert main([*command, "--pairs", str(phantoms.pairs), "-o", str(out)]) == 2
    assert "leave data.pairs.folder (--pairs) out" in capsys.readouterr().err
    assert not out.exists()


def test_colour_pictures_cannot_be_written_as_pngs_of_a_grey_style(
    trained: Path, phantoms: PhantomFolders, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["translate", str(trained), str(phantoms.scans), "-o", str(tmp_path / "out")]
    assert main([*command, "inference.picture_output=png"]) == 2
    assert "set it to nifti" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
