"""`stylize` in Python: pictures and volumes, masks, what is kept, and what is refused."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image

import medstyle_gan
from medstyle_gan.config import Config, load_config
from medstyle_gan.errors import UserError
from medstyle_gan.inference.stylizing import difference_ratio
from medstyle_gan.networks import vgg19
from medstyle_gan.volumes import Volume

from .conftest import CANARY, ellipsoid, rotated, textured_body

SETTINGS = [
    "vgg.weights=random:0",
    "method.steps=4",
    "loss.perceptual.layers=[relu2_1]",
    "loss.style.layers=[relu1_1,relu2_1]",
]


@pytest.fixture(autouse=True)
def _weights_drawn_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vgg19, "load_vgg19_weights", _weights)


@cache
def _weights(weights: str) -> Any:
    from medstyle_gan.networks.vgg19_weights import load_vgg19_weights

    return load_vgg19_weights(weights)


def config(*settings: str) -> Config:
    return load_config(None, [*SETTINGS, *settings], method="gatys")


def smooth(seed: int, size: tuple[int, int], channels: int = 3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
    array = np.asarray(coarse.resize(size[::-1], Image.Resampling.BICUBIC))
    return array if channels == 3 else array[..., 0]


@pytest.fixture
def content(tmp_path: Path) -> Path:
    Image.fromarray(smooth(0, (40, 52), 1)).save(tmp_path / "content.png")
    return tmp_path / "content.png"


@pytest.fixture
def style(tmp_path: Path) -> Path:
    Image.fromarray(smooth(1, (48, 30))).save(tmp_path / "style.png")
    return tmp_path / "style.png"


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    body = textured_body((28, 24, 5), sigma=2.0).round().astype(np.int16)
    image = nib.Nifti1Image(body, rotated((1, 1, 3), "LPS", 10))
    image.header["descrip"] = CANARY.encode()
    path = tmp_path / f"{CANARY}.nii.gz"
    nib.save(image, path)
    return path


def stylised(content: Any, style: Any, *settings: str, **given: Any) -> Any:
    return medstyle_gan.stylize(content, style, config(*settings), **given)


# --------------------------------------------------------------------------------- pictures


def test_a_picture_gets_the_styles_colours_at_its_own_size(content: Path, style: Path) -> None:
    result = stylised(content, style)
    assert result.image.shape == (40, 52, 3)
    assert result.image.dtype == np.uint8
    assert (result.image[..., 0] != result.image[..., 1]).any()
    assert [row["iteration"] for row in result.curve] == [1, 2, 3, 4]
    assert result.curve[-1]["loss"] < result.curve[0]["loss"]
    assert result.facts["synthetic"] is True


def test_colour_can_be_refused_or_wanted(content: Path, style: Path) -> None:
    assert stylised(content, style, "stylize.colour=grey").image.shape == (40, 52)
    assert stylised(content, content.parent / "style.png", "stylize.colour=rgb").image.ndim == 3


@pytest.mark.parametrize("size", [20, 80])
def test_it_can_be_worked_at_another_size(content: Path, style: Path, size: int) -> None:
    assert stylised(content, style, f"stylize.size={size}").image.shape == (40, 52, 3)


def luma(array: np.ndarray) -> np.ndarray:
    return np.asarray(array, dtype=float) @ np.array([0.299, 0.587, 0.114])


def test_kept_colour_has_the_contents_colour_differences(tmp_path: Path, style: Path) -> None:
    colours = (smooth(3, (40, 40)) // 3 + 80).astype(np.uint8)  # room for other luminances
    Image.fromarray(colours).save(tmp_path / "colours.png")
    result = stylised(tmp_path / "colours.png", style, "stylize.keep=colour").image.astype(float)
    inside = ((result > 1) & (result < 254)).all(axis=-1)
    assert inside.mean() > 0.5
    for channel in (0, 2):
        before = colours[..., channel] - luma(colours)
        after = result[..., channel] - luma(result)
        np.testing.assert_allclose(after[inside], before[inside], atol=1.5)
    assert np.abs(luma(result) - luma(colours)).mean() > 2


def test_kept_luminance_is_the_contents(content: Path, style: Path) -> None:
    result = stylised(content, style, "stylize.keep=luminance").image.astype(float)
    inside = ((result > 1) & (result < 254)).all(axis=-1)
    own = np.asarray(Image.open(content), dtype=float)
    assert inside.mean() > 0.3
    np.testing.assert_allclose(luma(result)[inside], own[inside], atol=1.5)


def test_preserved_structure_has_the_contents_gradients(content: Path, style: Path) -> None:
    free = stylised(content, style, "method.init=style").facts["gradient_correlation"]
    kept = stylised(content, style, "method.init=style", "stylize.structure=preserved").facts
    assert free < 0.9
    assert kept["gradient_correlation"] >= 0.945  # of the rounded picture


def test_outside_a_mask_the_picture_stays(content: Path, style: Path, tmp_path: Path) -> None:
    mask = np.zeros((40, 52), np.uint8)
    mask[10:30, 20:40] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    result = stylised(content, style, mask=tmp_path / "mask.png").image
    own = np.asarray(Image.open(content))[..., None]
    changed = (result != own).any(axis=-1)
    assert not changed[mask == 0].any()
    assert changed[mask > 0].mean() > 0.8


def test_each_style_has_its_mask(content: Path, tmp_path: Path) -> None:
    styles, masks = [], []
    for name, grey in (("dark", 20), ("bright", 235)):
        Image.fromarray(np.full((40, 40), grey, np.uint8)).save(tmp_path / f"{name}.png")
        mask = np.zeros((40, 52), np.uint8)
        mask[:, :26] = 255
        Image.fromarray(mask if name == "dark" else 255 - mask).save(tmp_path / f"{name}_mask.png")
        styles.append(tmp_path / f"{name}.png")
        masks.append(tmp_path / f"{name}_mask.png")
    result = stylised(
        content, styles, "loss.perceptual.weight=0", "method.steps=25", mask=masks
    ).image
    assert result[:, 2:22].mean() + 60 < result[:, 30:50].mean()


# ---------------------------------------------------------------------------------- volumes


@pytest.mark.parametrize("plane", ["axial", "sagittal"])
def test_a_grey_volume_keeps_geometry_units_and_background(scan: Path, plane: str) -> None:
    source = nib.load(scan)
    body = textured_body((28, 24, 5), seed=4, sigma=1.0)
    style = Volume(body, medstyle_gan_geometry(body, source.affine), body.dtype, False)
    told: list[tuple[int, int]] = []
    result = stylised(
        scan,
        style,
        f"data.plane={plane}",
        "stylize.style_slices=2",
        on_iteration=lambda i, n, _: told.append((i, n)),
    )
    volume, own = result.image, np.asarray(source.dataobj)
    assert volume.array.dtype == np.int16
    assert volume.array.shape == own.shape
    np.testing.assert_array_equal(volume.geometry.affine, source.affine)
    far = ~ellipsoid((28, 24, 5), 1.3)
    assert (volume.array[far] == own[far]).mean() > 0.9  # the body found may be a little larger
    np.testing.assert_array_equal(volume.array[:3, :3], own[:3, :3])
    inside = ellipsoid((28, 24, 5), 0.6)
    assert (volume.array[inside] != own[inside]).mean() > 0.5
    assert 250 < volume.array[inside].min() < volume.array[inside].max() < 950
    slices = result.facts["slices_stylised"]
    assert {n for _, n in told} == {slices}
    assert sorted({i for i, _ in told}) == list(range(slices))
    assert result.facts["adjacent_slice_difference_ratio"] > 0
    assert CANARY not in str(result.facts)


def medstyle_gan_geometry(array: np.ndarray, affine: np.ndarray) -> Any:
    from medstyle_gan.volumes import Geometry

    return Geometry.from_affine(array.shape, affine)


def test_a_colour_style_makes_an_rgb_volume(scan: Path, style: Path) -> None:
    result = stylised(scan, style, "stylize.background=stylize").image
    assert result.array.shape == (28, 24, 5, 3)
    assert result.array.dtype == np.uint8
    assert (result.array[..., 0] != result.array[..., 2]).mean() > 0.5


def test_a_slice_begins_with_what_its_neighbour_was_given(scan: Path) -> None:
    """Nearly equal slices come out alike, though the first began from noise."""
    source = nib.load(scan)
    flat = np.repeat(np.asarray(source.dataobj)[:, :, 2:3], 4, axis=2).astype(float)
    flat += np.arange(4) * 0.5 * (flat > 0)
    path = scan.parent / "alike.nii"
    nib.save(nib.Nifti1Image(flat.astype(np.float32), source.affine), path)
    style = scan.parent / "grey.png"
    Image.fromarray(smooth(1, (30, 30), 1)).save(style)
    settings = ["method.init=noise", "stylize.background=stylize"]
    array = stylised(path, style, *settings).image.array
    between = np.abs(np.diff(array, axis=2)).mean()
    assert between < 0.3 * np.abs(array - flat).mean()


def test_a_volumes_mask_limits_the_style(scan: Path, style: Path) -> None:
    source = nib.load(scan)
    mask = np.zeros(source.shape, np.uint8)
    mask[8:20, 8:16, 2] = 1
    path = scan.parent / "mask.nii.gz"
    nib.save(nib.Nifti1Image(mask, source.affine), path)
    result = stylised(scan, style, "stylize.colour=grey", mask=path)
    changed = result.image.array != np.asarray(source.dataobj)
    assert not changed[mask == 0].any()
    assert changed[mask == 1].mean() > 0.5
    assert result.facts["slices_stylised"] == 1


def test_the_ratio_of_differences_is_the_means() -> None:
    before = torch.randn(4, 1, 6, 6)
    assert difference_ratio(before, 3 * before) == pytest.approx(3, abs=1e-3)
    assert difference_ratio(before[:1], before[:1]) is None


# ------------------------------------------------------------------------------- what is refused


def saved(path: Path, array: np.ndarray, **options: Any) -> Path:
    Image.fromarray(array).save(path, **options)
    return path


@pytest.mark.parametrize("kind", ["rgba", "16-bit", "palette", "cmyk"])
def test_unusual_pictures_are_content_and_style_alike(
    content: Path, tmp_path: Path, kind: str
) -> None:
    colours = smooth(2, (32, 32))
    path = tmp_path / f"{kind}.{'jpg' if kind == 'cmyk' else 'png'}"
    if kind == "rgba":
        alpha = smooth(3, (32, 32), 1)[..., None]
        saved(path, np.concatenate([colours, alpha], axis=-1))
    elif kind == "16-bit":
        saved(path, colours[..., 0].astype(np.uint16) * 257)
    else:
        Image.fromarray(colours).convert("P" if kind == "palette" else "CMYK").save(path)
    for one, other in ((content, path), (path, content)):
        assert stylised(one, other, "method.steps=1").image.shape[:2] in ((40, 52), (32, 32))


def test_a_style_that_is_the_content_is_refused(content: Path) -> None:
    with pytest.raises(UserError, match="same picture as the content"):
        stylised(content, content)


def test_an_animation_is_refused(content: Path, tmp_path: Path) -> None:
    frames = [Image.fromarray(smooth(i, (20, 20))) for i in range(2)]
    path = tmp_path / "a.gif"
    frames[0].save(path, save_all=True, append_images=frames[1:])
    with pytest.raises(UserError, match=r"style .*a\.gif: is no picture or volume"):
        stylised(content, path)


def test_small_pictures_are_told_the_least_size(tmp_path: Path, style: Path) -> None:
    tiny = saved(tmp_path / "tiny.png", smooth(0, (10, 40)))
    with pytest.raises(UserError, match=r"too small: its shorter side must have 16 pixels"):
        stylised(tiny, style, "loss.style.layers=[relu5_1]", "stylize.style_size=4")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["stylize.style_weights=[0]"], "sum to 0"),
        (["stylize.style_weights=[1,1]"], "2 weights for 1 style"),
        (["loss.perceptual.weight=0", "loss.style.weight=0"], "both 0"),
        (["vgg.weights=nowhere.pth"], "no such file"),
    ],
)
def test_settings_that_leave_nothing_are_refused(
    content: Path, style: Path, settings: list[str], words: str
) -> None:
    with pytest.raises(UserError, match=words):
        stylised(content, style, *settings)


def test_masks_of_another_grid_kind_or_number_are_refused(
    content: Path, style: Path, scan: Path, tmp_path: Path
) -> None:
    other = saved(tmp_path / "other.png", np.full((40, 51), 255, np.uint8))
    empty = saved(tmp_path / "empty.png", np.zeros((40, 52), np.uint8))
    source = nib.load(scan)
    moved = source.affine.copy()
    moved[0, 3] += 5
    path = tmp_path / "moved.nii"
    nib.save(nib.Nifti1Image(np.ones(source.shape, np.uint8), moved), path)
    for one, mask, words in (
        (content, other, r"other\.png: has 40x51 pixels and the content 40x52"),
        (content, empty, "mask is empty"),
        (content, path, "is a volume, and the content is a picture"),
        (scan, empty, "is a picture, and the content is a volume"),
        (scan, path, "another grid"),
        (content, [empty, empty], "2 masks for 1 style"),
    ):
        with pytest.raises(UserError, match=words):
            stylised(one, style, mask=mask)


def test_other_methods_and_models_are_refused(content: Path, style: Path) -> None:
    with pytest.raises(UserError, match=r"cyclegan learns a translator.*gatys"):
        medstyle_gan.stylize(content, style, load_config(None, SETTINGS[:1]))
    with pytest.raises(UserError, match="gatys learns nothing"):
        stylised(content, style, model="run")
