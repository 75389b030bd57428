"""What a panel shows: labels at the right pixels, marks, slices, words."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from medstyle_gan.config import Config, load_config
from medstyle_gan.errors import UserError
from medstyle_gan.inference.panels.inputs import load_panel_images
from medstyle_gan.inference.panels.panel import (
    PALETTE,
    Panel,
    build_panel,
    label_colour,
    overlay,
)

SHAPE = (24, 20, 6)
WINDOW = ["data.intensity.scan.name=fixed", "data.intensity.scan.lower=0"]
WINDOW += ["data.intensity.scan.upper=255", "panel.tile=32"]


def config(*settings: str) -> Config:
    return load_config(None, [*WINDOW, *settings])


def scan_values() -> np.ndarray:
    array = np.random.default_rng(0).integers(60, 250, SHAPE).astype(np.uint8)
    array[:2] = array[-2:] = array[:, :2] = array[:, -2:] = 0
    return array


@pytest.fixture(params=["RAS", "LPS", "PIR"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Path]:
    """A scan in any orientation, its negative, and one label voxel block, all known in RAS."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[4:9, 3:6, 2] = 1
    labels[12:15, 10:16, 4] = 5
    arrays = {"scan": scan_values(), "stylised": 255 - scan_values(), "labels": labels}
    ornt = nib.orientations.axcodes2ornt(request.param)
    for name, array in arrays.items():
        image = nib.Nifti1Image(array, np.eye(4)).as_reoriented(ornt)
        nib.save(image, tmp_path / f"{name}.nii.gz")
    return {name: tmp_path / f"{name}.nii.gz" for name in arrays}


def built(files: dict[str, Path], *settings: str, mark: bool = False, labels: bool = True) -> Panel:
    given = config(*settings)
    images = load_panel_images(
        files["scan"], [files["stylised"]], files["labels"] if labels else None, given
    )
    return build_panel(images, given, mark)


def seen(array: np.ndarray, z: int) -> np.ndarray:
    """An axial slice as it is looked at, from a volume whose axes point R, A, S."""
    return np.rot90(array[:, :, z])


def test_labels_lie_at_their_voxels_whatever_the_orientation(files: dict[str, Path]) -> None:
    panel = built(files, "panel.slices=[2,4]", "panel.opacity=0.4")
    assert [name for name, _ in panel.rows] == ["slice 2", "slice 4"]
    for (_, tiles), z, value in zip(panel.rows, (2, 4), (1, 5), strict=True):
        times = tiles[0].pixels.shape[0] // SHAPE[1]
        assert times == 2  # 24 voxels, at least 32 pixels
        original, drawn = (
            tile.pixels[::times, ::times].astype(float) for tile in (tiles[0], tiles[2])
        )
        np.testing.assert_array_equal(original, np.repeat(seen(scan_values(), z)[..., None], 3, -1))
        where = np.zeros(SHAPE, bool)
        where[
            (slice(4, 9), slice(3, 6), 2) if value == 1 else (slice(12, 15), slice(10, 16), 4)
        ] = 1
        inside = seen(where, z)
        np.testing.assert_array_equal(drawn[~inside], original[~inside])
        blended = 0.6 * original + 0.4 * np.array(PALETTE[value - 1])
        np.testing.assert_allclose(drawn[inside], blended[inside], atol=0.5)


def test_stylised_volumes_are_shown_by_the_scans_scale_or_in_their_colours(
    files: dict[str, Path], tmp_path: Path
) -> None:
    (_, tiles), *_ = built(files, "panel.slices=[3]").rows
    expected = seen(255 - scan_values(), 3)
    np.testing.assert_array_equal(tiles[1].pixels[::2, ::2, 0], expected)
    colours = np.random.default_rng(3).integers(0, 256, (*SHAPE, 3), dtype=np.uint8)
    kind = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
    grid = nib.load(files["scan"])
    ras = nib.Nifti1Image(np.ascontiguousarray(colours).view(kind)[..., 0], np.eye(4))
    turn = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt("RAS"), nib.io_orientation(grid.affine)
    )
    nib.save(ras.as_reoriented(turn), tmp_path / "rgb.nii.gz")
    (_, tiles), *_ = built({**files, "stylised": tmp_path / "rgb.nii.gz"}, "panel.slices=[3]").rows
    np.testing.assert_array_equal(tiles[1].pixels[::2, ::2], np.rot90(colours[:, :, 3]))


def test_only_stylised_images_are_marked_all_at_one_place(files: dict[str, Path]) -> None:
    settings = ["panel.slices=[2,3]", "panel.tile=128"]
    marked, plain = built(files, *settings, mark=True), built(files, *settings)
    assert (marked.marked, plain.marked) == (True, False)
    places = []
    for (_, one), (_, other) in zip(marked.rows, plain.rows, strict=True):
        np.testing.assert_array_equal(one[0].pixels, other[0].pixels)
        np.testing.assert_array_equal(one[2].pixels, other[2].pixels)
        rows, columns = np.nonzero((one[1].pixels != other[1].pixels).any(axis=-1))
        places.append((rows.max() // 8, columns.max() // 8))
        assert 0 < len(rows) < 0.1 * one[1].pixels[..., 0].size
    assert places[0] == places[1]


def test_words_say_what_is_shown(files: dict[str, Path]) -> None:
    panel = built(files, "panel.slices=[2]", "panel.label_names={1: nucleus}", "panel.title=T")
    assert panel.captions == ("original", "stylised", "labels")
    assert panel.legend == (("nucleus", label_colour(1)),)
    alts = [tile.alt for tile in panel.rows[0][1]]
    assert alts[0] == "original: axial slice 2"
    assert "synthetic" in alts[1]
    assert "nucleus" in alts[2]
    named = built(files, "panel.captions=[a, b, c]").captions
    assert named == ("a", "b", "c")


def test_slices_are_chosen_where_labels_are_and_else_in_the_body(files: dict[str, Path]) -> None:
    assert [name for name, _ in built(files).rows] == ["slice 2", "slice 4"]
    rows = built(files, "panel.count=2", labels=False).rows
    assert [name for name, _ in rows] == ["slice 1", "slice 4"]  # the middles of both halves
    assert len(rows[0][1]) == 2


@pytest.mark.parametrize(("plane", "size"), [("axial", (20, 24)), ("coronal", (6, 24))])
def test_pixels_are_square_whatever_the_voxels(tmp_path: Path, plane: str, size: tuple) -> None:
    affine = np.diag([1.0, 1, 3, 1])
    for name in ("scan", "stylised"):
        nib.save(nib.Nifti1Image(scan_values(), affine), tmp_path / f"{name}.nii")
    files = {name: tmp_path / f"{name}.nii" for name in ("scan", "stylised")}
    panel = built(files, f"data.plane={plane}", labels=False)
    rows, columns = panel.rows[0][1][0].pixels.shape[:2]
    tall = 3 if plane == "coronal" else 1
    assert rows / columns == pytest.approx(size[0] * tall / size[1])


def test_borders_are_drawn_inside_the_area() -> None:
    labels = np.zeros((20, 20), int)
    labels[5:15, 5:15] = 2
    picture = np.full((20, 20, 3), 100, np.uint8)
    drawn = overlay(picture, labels, None)
    coloured = (drawn == PALETTE[1]).all(axis=-1)
    ring = labels > 0
    ring[7:13, 7:13] = False
    np.testing.assert_array_equal(coloured, ring)
    assert (drawn[~ring] == 100).all()


def test_pictures_have_one_row(tmp_path: Path) -> None:
    content = np.random.default_rng(0).integers(0, 256, (40, 50), dtype=np.uint8)
    labels = np.zeros_like(content)
    labels[10:20, 30:40] = 3
    for name, array in (("c", content), ("s", 255 - content), ("l", labels)):
        Image.fromarray(array).save(tmp_path / f"{name}.png")
    paths = [tmp_path / f"{name}.png" for name in "csl"]
    images = load_panel_images(paths[0], [paths[1]], paths[2], config())
    panel = build_panel(images, config(), mark=False)
    ((name, tiles),) = panel.rows
    assert name == panel.orientation == ""
    np.testing.assert_array_equal(tiles[1].pixels[..., 0], 255 - content)
    changed = (tiles[2].pixels != tiles[0].pixels).any(axis=-1)
    np.testing.assert_array_equal(changed, labels > 0)


def test_a_picture_that_is_marked_is_not_marked_twice(tmp_path: Path) -> None:
    content = np.random.default_rng(0).integers(0, 256, (40, 50), dtype=np.uint8)
    for name in "cs":
        Image.fromarray(content).save(tmp_path / f"{name}.png")
    for marked in (True, False):
        facts = {"synthetic": True, "note": "made", "marked": marked}
        (tmp_path / "s.json").write_text(json.dumps(facts))
        images = load_panel_images(tmp_path / "c.png", [tmp_path / "s.png"], None, config())
        shown = build_panel(images, config(), mark=True).rows[0][1][1].pixels[..., 0]
        assert (shown == content).all() == marked


@pytest.mark.parametrize(
    ("change", "settings", "words"),
    [
        ("grid", [], r"stylised .*other\.nii: lies on another grid"),
        ("fractions", [], r"labels .*other\.nii: holds values that are no label"),
        ("picture", [], r"stylised .*other\.png: is a picture, and the content is a volume"),
        (
            None,
            ["panel.slices=[6]"],
            r"panel\.slices=\[6\]: the content has the axial sli",
        ),
        (None, ["panel.captions=[a, b]"], "has 2 captions for 3 columns"),
    ],
)
def test_what_does_not_fit_is_refused(
    tmp_path: Path, change: str | None, settings: list[str], words: str
) -> None:
    for name in ("scan", "stylised", "labels"):
        nib.save(nib.Nifti1Image(scan_values(), np.eye(4)), tmp_path / f"{name}.nii")
    files = {name: tmp_path / f"{name}.nii" for name in ("scan", "stylised", "labels")}
    if change == "grid":
        files["stylised"] = tmp_path / "other.nii"
        nib.save(nib.Nifti1Image(scan_values()[1:], np.eye(4)), files["stylised"])
    elif change == "fractions":
        files["labels"] = tmp_path / "other.nii"
        nib.save(nib.Nifti1Image(scan_values() * np.float32(0.3), np.eye(4)), files["labels"])
    elif change == "picture":
        files["stylised"] = tmp_path / "other.png"
        Image.fromarray(scan_values()[..., 0]).save(files["stylised"])
    with pytest.raises(UserError, match=words):
        built(files, *settings)
