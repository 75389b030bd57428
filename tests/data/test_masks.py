"""Where the body is in samples: cached with the volumes, and changed as their images are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from medstyle_gan.config.data_section import DataConfig
from medstyle_gan.data.cache import CachedCollection, prepare_collection
from medstyle_gan.data.collection import find_collection
from medstyle_gan.data.preprocessing import prepare_volume
from medstyle_gan.data.sampling import UnpairedDataset, fixed_masks, fixed_samples
from medstyle_gan.data.slices import from_slices
from medstyle_gan.volumes import read_volume

DataSettings = Callable[..., DataConfig]
PATTERN = r"(sub-[A-Za-z0-9]+)"
CROPS = {
    2: {"sample_size": (32, 32)},
    2.5: {"dims": 2.5, "sample_size": (32, 32)},
    3: {"dims": 3, "sample_size": (24, 24, 8), "spacing": (None, None, None)},
}


def _cached(folder: Path, config: DataConfig, domain: Any, masks: bool = True) -> CachedCollection:
    return prepare_collection(find_collection(str(folder), PATTERN), config, domain, masks=masks)


def test_a_mask_is_the_foreground_that_whole_volumes_are_translated_within(
    folders: Any, data_settings: DataSettings, tmp_path: Path
) -> None:
    config = data_settings(cache={"folder": str(tmp_path)})
    assert all(v.mask is None for v in _cached(folders.scans, config, "scan", masks=False))
    without = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.npy")}
    cached = _cached(folders.scans, config, "scan")
    for volume in cached:
        assert volume.mask is not None
        prepared = prepare_volume(read_volume(volume.item.path), config, "scan")
        found = from_slices(volume.mask.slices, config.plane)[0]
        np.testing.assert_array_equal(found, prepared.foreground)
        assert 0 < found.mean() < 1
        assert volume.mask.path.stat().st_size < 1.01 * found.size + 128  # a byte a voxel
    # Made once; what was there without masks stays of use.
    made = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.npy")}
    assert len(made) == 2 * len(without)
    _cached(folders.scans, config, "scan")
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.npy")} == made


@pytest.mark.parametrize("dims", CROPS)
@pytest.mark.parametrize("memory_map", [True, False])
def test_a_mask_is_changed_as_its_image_is_and_changes_no_image(
    dims: float, memory_map: bool, folders: Any, data_settings: DataSettings, tmp_path: Path
) -> None:
    cache = {"folder": str(tmp_path), "memory_map": memory_map}
    config = data_settings(cache=cache, **CROPS[dims])
    scan, style = _cached(folders.scans, config, "scan"), _cached(folders.style, config, "style")
    plain = UnpairedDataset(scan, style, config, 3, 12)
    masked = UnpairedDataset(scan, style, config, 3, 12, masks=True, heights=True)
    # Volumes that are their own masks: an oracle for crop, flip and affine.
    own = CachedCollection([replace(v.mask, mask=v.mask) for v in scan if v.mask], "scan")
    itself = UnpairedDataset(own, style, config, 3, 12, masks=True)
    inside = 0.0
    for index in range(12):
        before, sample, same = plain[index], masked[index], itself[index]
        assert set(sample) - set(before) == {
            *("scan_mask", "style_mask"),
            *("scan_height", "style_height"),
        }
        assert torch.equal(sample["scan"], before["scan"])
        assert torch.equal(sample["style"], before["style"])
        assert sample["scan_mask"].dtype == torch.bool
        assert sample["scan_mask"].shape == sample["scan"].shape
        assert torch.equal(same["scan"] > 0.5, same["scan_mask"])
        assert torch.equal(same["scan_mask"], sample["scan_mask"])
        assert 0 <= float(sample["scan_height"]) <= 1
        inside += float(sample["scan_mask"].float().mean()) / 12
    assert 0.1 < inside < 0.9


def test_all_of_a_picture_is_body(
    folders: Any, data_settings: DataSettings, tmp_path: Path
) -> None:
    config = data_settings(cache={"folder": str(tmp_path)})
    scan, style = _cached(folders.scans, config, "scan"), _cached(folders.pictures, config, "style")
    sample = UnpairedDataset(scan, style, config, 3, 4, masks=True)[1]
    assert sample["style_mask"].all()
    assert sample["style_mask"].shape == (1, 32, 32)


def test_fixed_samples_have_fixed_masks(
    folders: Any, data_settings: DataSettings, tmp_path: Path
) -> None:
    config = data_settings(cache={"folder": str(tmp_path)})
    cached = _cached(folders.scans, config, "scan")
    own = CachedCollection([replace(v.mask, mask=v.mask) for v in cached if v.mask], "scan")
    masks = fixed_masks(cached, config, 5, 0)
    assert masks is not None
    assert torch.equal(masks, fixed_samples(own, config, 5, 0) > 0.5)
    assert fixed_masks(_cached(folders.scans, config, "scan", masks=False), config, 5, 0) is None
