"""A highlighted region keeps its voxels within the bound, in what is written."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

import medstyle_gan
from medstyle_gan.config import load_config
from medstyle_gan.errors import UserError
from medstyle_gan.networks import vgg19
from medstyle_gan.networks.vgg19_weights import load_vgg19_weights

from .conftest import rotated, textured_body

SETTINGS = [
    "vgg.weights=random:0",
    "method.steps=2",
    "loss.perceptual.layers=[relu1_1]",
    "loss.style.layers=[relu1_1]",
    "stylize.highlight.region=auto",
]
MUTED = "stylize.highlight.rest=muted"
_load = cache(load_vgg19_weights)


@pytest.fixture(autouse=True)
def _weights_drawn_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vgg19, "load_vgg19_weights", _load)


def highlighted(content: Any, *settings: str, style: Any = (), **given: Any) -> Any:
    config = load_config(None, [*SETTINGS, *settings], method="gatys")
    return medstyle_gan.stylize(content, style, config, **given)


@pytest.fixture
def style(tmp_path: Path) -> Path:
    rng = np.random.default_rng(1)
    Image.fromarray(rng.integers(0, 256, (30, 30), dtype=np.uint8)).save(tmp_path / "style.png")
    return tmp_path / "style.png"


def saved(tmp_path: Path, array: np.ndarray, name: str) -> Path:
    nib.save(nib.Nifti1Image(array, rotated((1, 1, 3), "LPS", 10)), tmp_path / name)
    return tmp_path / name


@pytest.fixture
def region(tmp_path: Path) -> Path:
    mask = np.zeros((28, 24, 5), np.uint8)
    mask[10:17, 9:15, 1:4] = 1
    return saved(tmp_path, mask, "mask.nii")


@pytest.fixture(params=["int16", "float32", "float64"])
def scan(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    body = textured_body((28, 24, 5), sigma=1.0)
    body = body.round() if request.param == "int16" else body + body * 1e-3
    return saved(tmp_path, body.astype(request.param), "scan.nii.gz")


@pytest.mark.parametrize("bound", [0.0, 0.4, 7.3, None])
@pytest.mark.parametrize("rest", ["stylised", "muted"])
def test_no_voxel_of_the_region_changes_beyond_the_bound(
    scan: Path, region: Path, style: Path, rest: str, bound: float | None
) -> None:
    given = "null" if bound is None else str(bound)
    result = highlighted(
        scan,
        f"stylize.highlight.rest={rest}",
        f"stylize.highlight.bound={given}",
        "stylize.highlight.emphasis=5",
        style=style if rest == "stylised" else (),
        mask=region,
    )
    own = nib.load(scan).get_fdata()
    inside = np.asarray(nib.load(region).dataobj) > 0
    change = np.abs(result.image.array.astype(np.float64) - own)
    facts = result.facts["highlight"]
    scale = result.facts["intensity_scale"]
    limit = scale["half_range"] / 10 if bound is None else bound  # a twentieth of the range
    assert facts["bound"] == pytest.approx(limit)
    # What float32 cannot hold of a float64 scan is no change.
    unheld = np.abs(own.astype(np.float32) - own).max() if own.dtype != np.float32 else 0.0
    assert change[inside].max() <= limit + unheld
    assert facts["largest_change"] == pytest.approx(change[inside].max(), abs=1e-6)
    if limit > 1:  # the emphasis is large, so it uses the bound
        assert change[inside].max() > 0.5 * limit
    assert (change[~inside] > limit + 1).mean() > 0.05
    assert facts["voxels"] == inside.sum()
    assert facts["region"] == "mask"


def test_emphasis_raises_the_regions_contrast_and_none_changes_nothing(
    tmp_path: Path, region: Path
) -> None:
    scan = saved(tmp_path, textured_body((28, 24, 5), sigma=1.0).astype(np.float32), "s.nii")
    own = nib.load(scan).get_fdata()
    inside = np.asarray(nib.load(region).dataobj) > 0
    more = highlighted(scan, MUTED, "stylize.highlight.bound=1000", mask=region).image.array
    none = highlighted(scan, MUTED, "stylize.highlight.emphasis=0", mask=region).image.array
    assert more[inside].std() > 1.1 * own[inside].std()
    np.testing.assert_array_equal(none[inside], own[inside])


def test_in_colour_the_region_is_what_eight_bits_show_of_the_scan(
    tmp_path: Path, region: Path
) -> None:
    scan = saved(tmp_path, textured_body((28, 24, 5), sigma=1.0).astype(np.float32), "s.nii")
    settings = [MUTED, "stylize.colour=rgb", "stylize.highlight.bound=0"]
    result = highlighted(scan, *settings, mask=region)
    scale = result.facts["intensity_scale"]
    unit = ((nib.load(scan).get_fdata() - scale["center"]) / scale["half_range"]).clip(-1, 1)
    inside = np.asarray(nib.load(region).dataobj) > 0
    shown = np.rint((unit.astype(np.float32) + 1) * 127.5)
    assert result.image.array.dtype == np.uint8
    for channel in range(3):
        np.testing.assert_allclose(result.image.array[inside, channel], shown[inside], atol=1)
    assert result.facts["highlight"]["largest_change"] == 0


def test_a_line_goes_around_the_region_and_never_into_it(tmp_path: Path, region: Path) -> None:
    scan = saved(tmp_path, textured_body((28, 24, 5), sigma=1.0).astype(np.float32), "s.nii")
    with_line, without = (
        highlighted(scan, MUTED, f"stylize.highlight.outline={n}", mask=region).image.array
        for n in (1, 0)
    )
    inside = np.asarray(nib.load(region).dataobj) > 0
    rings = []
    for n in (1, 2):
        grown = np.zeros_like(inside)
        for x in range(-n, n + 1):  # steps of 4 neighbours in each axial slice
            for y in range(-(n - abs(x)), n - abs(x) + 1):
                grown |= np.roll(inside, (x, y), (0, 1))
        rings.append(grown)
    bright, dark = rings[0] & ~inside, rings[1] & ~rings[0]
    np.testing.assert_array_equal(with_line[~rings[1]], without[~rings[1]])
    np.testing.assert_array_equal(with_line[inside], without[inside])
    assert len(np.unique(with_line[bright])) == len(np.unique(with_line[dark])) == 1
    assert with_line[bright].min() > without[rings[1]].max() - 100 > with_line[dark].max()


@pytest.mark.parametrize("bound", [0, 3])
def test_of_a_picture_the_bound_is_in_grey_levels(tmp_path: Path, style: Path, bound: int) -> None:
    rng = np.random.default_rng(0)
    content = rng.integers(30, 220, (40, 52), dtype=np.uint8)
    mask = np.zeros_like(content)
    mask[12:24, 20:36] = 255
    Image.fromarray(content).save(tmp_path / "c.png")
    Image.fromarray(mask).save(tmp_path / "m.png")
    result = highlighted(
        tmp_path / "c.png",
        f"stylize.highlight.bound={bound}",
        "stylize.highlight.emphasis=3",
        style=style,
        mask=tmp_path / "m.png",
    )
    change = np.abs(result.image.astype(int) - content.astype(int))
    assert change[mask > 0].max() == bound
    assert change[mask == 0].mean() > 3
    assert result.facts["highlight"]["unit"] == "grey levels of 255"


def test_without_a_mask_a_region_is_proposed_and_said_so(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    content = np.full((64, 64), 120.0) + rng.normal(0, 2, (64, 64))
    content[28:40, 30:42] += rng.normal(0, 60, (12, 12))
    Image.fromarray(content.clip(0, 255).astype(np.uint8)).save(tmp_path / "c.png")
    result = highlighted(tmp_path / "c.png", MUTED, "stylize.highlight.outline=0")
    assert result.facts["highlight"]["region"] == "proposed by saliency"
    kept = np.abs(result.image - content.clip(0, 255)) < 14  # the rest is darker by far
    rows, columns = np.nonzero(kept)
    assert 24 <= np.median(rows) <= 44
    assert 26 <= np.median(columns) <= 46


@pytest.mark.parametrize(
    ("settings", "style_given", "masks", "words"),
    [
        ([MUTED], True, 1, "transfers no style"),
        ([], False, 1, "no style given"),
        ([MUTED], False, 2, "one region of interest"),
        ([MUTED, "inference.dtype=uint8", "stylize.highlight.bound=1"], False, 1, "beyond the bou"),
    ],
)
def test_what_contradicts_itself_is_refused(
    tmp_path: Path,
    region: Path,
    style: Path,
    settings: list[str],
    style_given: bool,
    masks: int,
    words: str,
) -> None:
    scan = saved(tmp_path, textured_body((28, 24, 5)).astype(np.float32), "s.nii")
    with pytest.raises(UserError, match=words):
        highlighted(scan, *settings, style=style if style_given else (), mask=[region] * masks)


def test_a_region_that_leaves_no_rest_is_refused(tmp_path: Path) -> None:
    scan = saved(tmp_path, textured_body((28, 24, 5)).astype(np.float32), "s.nii")
    everything = saved(tmp_path, np.ones((28, 24, 5), np.uint8), "all.nii")
    with pytest.raises(UserError, match="no rest"):
        highlighted(scan, MUTED, mask=everything)
