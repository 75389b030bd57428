from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medstyle_gan.config.data_section import DataConfig
from medstyle_gan.data.cache import prepare_collection
from medstyle_gan.data.cached_foreground import array_and_foreground
from medstyle_gan.data.cached_volume import CachedVolume
from medstyle_gan.data.collection import find_collection
from medstyle_gan.data.intensity import FittedScale
from medstyle_gan.data.intensity_map import LEVELS, IntensityMap, learn_intensity_map
from medstyle_gan.data.phantom import write_phantom_collections
from medstyle_gan.data.pseudo_pairs import PseudoPair, PseudoPairs

AS_IT_IS = FittedScale(center=0.0, half_range=1.0, clip=False)
Learn = Callable[..., IntensityMap | None]


@pytest.fixture(scope="module")
def scans(
    data_settings: Callable[..., DataConfig], tmp_path_factory: pytest.TempPathFactory
) -> list[CachedVolume]:
    folder = tmp_path_factory.mktemp("phantoms")
    folders = write_phantom_collections(folder, subjects=2, shape=(24, 24, 12))
    config = data_settings(cache={"folder": str(folder / "cache")})
    found = find_collection(str(folders.scans), config.subject_pattern)
    return list(prepare_collection(found, config, "scan"))


def _pair(scan: CachedVolume, folder: Path, style: np.ndarray, weight: np.ndarray) -> PseudoPair:
    """A scan with arrays of its own shape."""
    volumes = []
    for array in (style, weight):
        path = folder / f"{len(list(folder.iterdir()))}.npy"
        np.save(path, array.astype(np.float32))
        volumes.append(replace(scan, path=path, scale=AS_IT_IS, stored="<f4", _loaded={}))
    return PseudoPair(scan, *volumes, scan, None, information=1.1, overlap=0.9)


def _arch(x: np.ndarray) -> np.ndarray:
    """A contrast that does not rise."""
    return 0.6 - 1.2 * (x + 0.1) ** 2


def test_means_are_those_of_a_kernel_regression() -> None:
    rng = np.random.default_rng(0)
    levels = np.clip(np.rint(rng.normal(128, 40, 20_000)), 0, 255).astype(int)
    style = np.sin(levels / 30) + rng.normal(0, 0.3, levels.size)
    counts = np.bincount(levels, minlength=LEVELS)
    learned = IntensityMap.of_histogram(counts, np.bincount(levels, style, LEVELS))
    for level in (60, 128, 190):
        near = np.exp(-0.5 * ((levels - level) / 2) ** 2)
        expected = np.average(style, weights=near)
        assert learned.values[level] == pytest.approx(expected, abs=2e-3)


def test_rare_intensities_take_what_lies_beside_them() -> None:
    counts, sums = np.zeros(LEVELS), np.zeros(LEVELS)
    counts[100:110], sums[100:110] = 1e5, 0.2e5
    counts[[5, 200]], sums[[5, 200]] = 3, -3  # three voxels of somebody
    learned = IntensityMap.of_histogram(counts, sums)
    np.testing.assert_allclose(learned.values, 0.2, atol=1e-6)


@pytest.mark.parametrize("values", [[0.0] * 255, [float("nan")] * LEVELS])
def test_what_is_no_map_is_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match="256 finite"):
        IntensityMap.read(values)


def test_a_function_of_the_intensity_is_found_again(
    scans: list[CachedVolume], tmp_path: Path
) -> None:
    everywhere = np.ones(scans[0].shape)
    pairs = [_pair(scan, tmp_path, _arch(scan.slices), everywhere) for scan in scans]
    learned = learn_intensity_map(PseudoPairs(tuple(pairs), ()), "axial")
    assert learned is not None
    for scan in scans:
        array, body = array_and_foreground(scan, "axial")
        error = np.abs(learned(array[body]) - _arch(array[body]))
        assert np.median(error) < 0.01
        assert error.mean() < 0.02


def test_only_the_body_where_a_pair_can_be_believed_tells(
    scans: list[CachedVolume], tmp_path: Path
) -> None:
    scan = scans[0]
    body = array_and_foreground(scan, "axial")[1].transpose(2, 0, 1)[:, None]
    believed = np.zeros(scan.shape)
    believed[: len(scan) // 2] = 1
    lies = np.where(body & (believed > 0), 0.3, -0.9)
    pairs = PseudoPairs((_pair(scan, tmp_path, lies, believed),), ())
    learned = learn_intensity_map(pairs, "axial")
    assert learned is not None
    np.testing.assert_allclose(learned.values, 0.3, atol=1e-6)
    nowhere = PseudoPairs((_pair(scan, tmp_path, lies, np.zeros(scan.shape)),), ())
    assert learn_intensity_map(nowhere, "axial") is None


def test_each_pair_counts_the_same(scans: list[CachedVolume], tmp_path: Path) -> None:
    scan = scans[0]
    few = np.zeros(scan.shape)
    few[len(scan) // 2] = 1
    one = _pair(scan, tmp_path, np.full(scan.shape, 0.5), np.ones(scan.shape))
    other = _pair(scan, tmp_path, np.full(scan.shape, -0.5), few)
    learned = learn_intensity_map(PseudoPairs((one, other), ()), "axial")
    assert learned is not None
    array, body = array_and_foreground(scan, "axial")
    shares = []
    for part in (body, body & (few[:, 0].transpose(1, 2, 0) > 0)):
        level = np.rint((np.clip(array[part], -1, 1) + 1) / 2 * 255).astype(int)
        near = np.exp(-0.5 * ((np.arange(LEVELS)[:, None] - level) / 2) ** 2)
        shares.append(near.mean(axis=1))
    middle = int(np.argmax(shares[1]))
    expected = 0.5 * (shares[0] - shares[1])[middle] / sum(shares)[middle]
    assert learned.values[middle] == pytest.approx(expected, abs=2e-3)


def test_colour_has_no_map(scans: list[CachedVolume], tmp_path: Path) -> None:
    pair = _pair(scans[0], tmp_path, scans[0].slices, np.ones(scans[0].shape))
    coloured = replace(pair, style=replace(pair.style, channels=3))
    assert learn_intensity_map(PseudoPairs((coloured,), ()), "axial") is None
