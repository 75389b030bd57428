from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates
from torch.utils.data import DataLoader

from medstyle_gan.config.data_section import DataConfig
from medstyle_gan.data import cached_volume
from medstyle_gan.data.cache import CachedCollection, prepare_collection
from medstyle_gan.data.cached_volume import CachedVolume
from medstyle_gan.data.collection import find_collection
from medstyle_gan.data.patch_samples import PatchSamples
from medstyle_gan.data.sampling import GlobalIndexSampler, UnpairedDataset, fixed_samples
from medstyle_gan.errors import UserError

DataSettings = Callable[..., DataConfig]
STILL = {"flip": 0, "affine": 0}
SIZE = (16, 12, 8)


@pytest.fixture
def settings_3d(data_settings: DataSettings) -> DataSettings:
    def make(**data: Any) -> DataConfig:
        return data_settings(**{"dims": 3, "sample_size": SIZE, "augmentation": STILL, **data})

    return make


@pytest.fixture(scope="module")
def collections(
    folders: Any, data_settings: DataSettings, tmp_path_factory: pytest.TempPathFactory
) -> tuple[CachedCollection, CachedCollection]:
    cache = {"folder": str(tmp_path_factory.mktemp("cache"))}
    config = data_settings(dims=3, sample_size=SIZE, cache=cache)
    scans, style = (
        prepare_collection(find_collection(str(spec), r"(sub-[A-Za-z0-9]+)"), config, domain)
        for spec, domain in ((folders.scans, "scan"), (folders.style, "style"))
    )
    return scans, style


@pytest.fixture
def stored(
    collections: tuple[CachedCollection, CachedCollection], tmp_path: Path
) -> Callable[[np.ndarray], CachedVolume]:
    """A cached volume of an array (C, X, Y, Z) of any channels."""

    def store(array: np.ndarray) -> CachedVolume:
        slices = np.moveaxis(array, -1, 0).astype(np.float32)
        np.save(tmp_path / "volume.npy", slices)
        return replace(
            collections[0][0],
            path=tmp_path / "volume.npy",
            shape=slices.shape,
            channels=len(array),
            box=tuple((0, n - 1) for n in array.shape[1:]),
            occupancy=np.ones((1, 1, 1), np.float32),
        )

    return store


def _noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)


def _state(seed: int = 0) -> np.random.RandomState:
    return np.random.RandomState(seed)


@pytest.mark.parametrize("memory_map", [True, False])
@pytest.mark.parametrize("start", [(0, 0, 0), (3, 5, 2), (24, 20, 4)])
def test_a_patch_is_that_part_of_the_volume_in_memory_of_its_own(
    stored: Any, settings_3d: DataSettings, start: tuple[int, int, int], memory_map: bool
) -> None:
    array = _noise(2, 40, 32, 12)
    volume = replace(stored(array), memory_map=memory_map)
    samples = PatchSamples(settings_3d())
    expected = array[(slice(None), *(slice(s, s + n) for s, n in zip(start, SIZE, strict=True)))]
    for _ in range(2):
        patch = samples.augmented(volume, start, _state())
        np.testing.assert_array_equal(patch, expected)
        assert patch.is_contiguous()
        patch.zero_()


@pytest.mark.parametrize("start", [(-3, 0, 0), (30, 25, -2), (-5, -6, 9)])
def test_beyond_the_volume_is_background(
    stored: Any, settings_3d: DataSettings, start: tuple[int, int, int]
) -> None:
    array = _noise(1, 40, 32, 12)
    volume = stored(array)
    patch = PatchSamples(settings_3d()).augmented(volume, start, _state())
    around = np.pad(array, [(0, 0), *[(20, 20)] * 3], constant_values=volume.fill)
    at = tuple(slice(s + 20, s + 20 + n) for s, n in zip(start, SIZE, strict=True))
    assert -1 <= volume.fill < -0.5
    np.testing.assert_array_equal(patch, around[(slice(None), *at)])


def test_no_more_is_read_than_the_patchs_rows(
    stored: Any, settings_3d: DataSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume = stored(_noise(1, 64, 48, 40))
    read: list[int] = []
    fromfile = np.fromfile

    def counted(*arguments: Any, **keywords: Any) -> np.ndarray:
        values = fromfile(*arguments, **keywords)
        read.append(values.nbytes)
        return values

    monkeypatch.setattr(cached_volume.np, "fromfile", counted)
    monkeypatch.setattr(cached_volume.np, "load", None)
    PatchSamples(settings_3d()).augmented(volume, (10, 20, 30), _state())
    assert read == [SIZE[0] * 48 * 4] * SIZE[2]


@pytest.mark.parametrize("missing", [4, 40 * 32 * 4, 40 * 32 * 12 * 4 + 100])
def test_a_cache_file_cut_short_is_named(
    stored: Any, settings_3d: DataSettings, missing: int
) -> None:
    volume = stored(_noise(1, 40, 32, 12))
    samples = PatchSamples(settings_3d())
    with volume.path.open("r+b") as file:
        file.truncate(volume.path.stat().st_size - missing)
    with pytest.raises(UserError, match="cut short"):
        samples.augmented(volume, (0, 0, 0), _state())


def test_the_flip_is_left_right(stored: Any, settings_3d: DataSettings) -> None:
    array = _noise(1, *SIZE)
    samples = PatchSamples(settings_3d(augmentation={"flip": 1, "affine": 0}))
    flipped = samples.augmented(stored(array), (0, 0, 0), _state())
    np.testing.assert_array_equal(flipped, array[:, ::-1])


@pytest.mark.parametrize("seed", range(4))
def test_deforming_is_scipys_linear_interpolation(
    seed: int, stored: Any, settings_3d: DataSettings
) -> None:
    """Three channels hold coordinates, so that they tell where each voxel came from."""
    strong = {"flip": 0.5, "affine": 1, "rotation": 20, "scaling": 0.2, "translation": 0.1}
    samples = PatchSamples(settings_3d(augmentation=strong))
    shape = (70, 66, 60)
    volume = stored(np.concatenate([np.indices(shape, np.float32), _noise(1, *shape)]))
    sample = samples.augmented(volume, (27, 27, 26), _state(seed)).numpy()
    expected = map_coordinates(_noise(1, *shape)[0], sample[:3], order=1)
    np.testing.assert_allclose(sample[3], expected, atol=2e-3)
    # Along each axis neighbours are a scaled voxel apart; the axes are turned, about all three.
    steps = np.stack([np.diff(sample[:3], axis=1 + axis)[:, 0, 0, 0] for axis in range(3)])
    lengths = np.linalg.norm(steps, axis=1)
    assert (np.abs(lengths - 1) <= 0.2 + 1e-3).all()
    assert len(np.unique(lengths.round(3))) == 3
    turned = np.abs(steps / lengths[:, None])
    assert (turned[~np.eye(3, dtype=bool)] > 1e-3).all()


@pytest.mark.parametrize("rotation", [0.0, 8.0, 45.0, 180.0])
def test_the_largest_affine_stays_inside_its_margin(
    rotation: float, stored: Any, settings_3d: DataSettings
) -> None:
    """A huge constant volume shows any reach beyond what was cut out of it."""
    wild = {"flip": 0, "affine": 1, "rotation": rotation, "scaling": 0.3, "translation": 0.2}
    samples = PatchSamples(settings_3d(augmentation=wild))
    volume = stored(np.full((1, 90, 90, 90), 0.5))
    for seed in range(10):
        sample = samples.augmented(volume, (37, 39, 41), _state(seed))
        np.testing.assert_allclose(sample, 0.5, atol=1e-4)


def test_what_is_turned_in_from_beyond_the_volume_is_background(
    stored: Any, settings_3d: DataSettings
) -> None:
    shift = {"flip": 0, "affine": 1, "rotation": 0, "scaling": 0, "translation": 0.5}
    samples = PatchSamples(settings_3d(augmentation=shift))
    volume = stored(np.full((1, *SIZE), 0.5))
    sample = samples.augmented(volume, (0, 0, 0), _state(3)).numpy()
    assert np.isclose(sample, volume.fill, atol=1e-5).any()
    assert sample.min() >= volume.fill - 1e-5


@pytest.fixture
def dataset(
    collections: tuple[CachedCollection, CachedCollection], settings_3d: DataSettings
) -> UnpairedDataset:
    config = settings_3d(augmentation={"flip": 0.5, "affine": 0.5})
    return UnpairedDataset(*collections, config, seed=3, length=64)


def test_samples_depend_on_seed_and_index_alone(
    dataset: UnpairedDataset, collections: Any, settings_3d: DataSettings
) -> None:
    forwards = [dataset[i] for i in range(8)]
    np.random.seed(5)
    torch.manual_seed(5)
    for index in reversed(range(8)):
        for domain in ("scan", "style"):
            again = dataset[index][domain]
            assert again.shape == (1, *SIZE)
            assert again.dtype == torch.float32
            assert type(again) is torch.Tensor
            assert again.abs().max() <= 1.0001
            assert torch.equal(again, forwards[index][domain])
    other = UnpairedDataset(*collections, settings_3d(), seed=4, length=64)
    assert not any(torch.equal(other[i]["scan"], forwards[i]["scan"]) for i in range(8))


def test_workers_do_not_change_samples(dataset: UnpairedDataset) -> None:
    sampler = GlobalIndexSampler(steps=4, batch_size=2)
    alone = list(DataLoader(dataset, batch_size=2, sampler=sampler))
    helped = list(DataLoader(dataset, batch_size=2, sampler=sampler, num_workers=2))
    for a, b in zip(alone, helped, strict=True):
        assert all(torch.equal(a[key], b[key]) for key in ("scan", "style", "index"))


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs Linux's /proc")
def test_nothing_of_the_cache_stays_mapped_or_open(
    dataset: UnpairedDataset, collections: Any
) -> None:
    for index in range(10):
        dataset[index]
    folder = str(collections[0][0].path.parent)
    assert folder not in Path("/proc/self/maps").read_text()
    opened = [p.resolve() for p in Path("/proc/self/fd").iterdir() if p.exists()]
    assert not [path for path in opened if str(path).startswith(folder)]


def test_fixed_samples_are_of_different_subjects_and_heights_and_never_change(
    collections: tuple[CachedCollection, CachedCollection], settings_3d: DataSettings
) -> None:
    scans, _ = collections
    config = settings_3d(sample_size=(16, 16, 4))
    samples = fixed_samples(scans, config, 4, seed=0)
    assert samples.shape == (4, 1, 16, 16, 4)
    assert torch.equal(samples, fixed_samples(scans, config, 4, seed=0))
    subjects, heights = [], []
    for sample in samples.numpy():
        for volume in scans:
            whole = np.moveaxis(volume.slices, 0, -1)
            windows = np.lib.stride_tricks.sliding_window_view(whole, (1, 16, 16, 4))[0]
            at = np.argwhere((windows[..., 0, :, :, :] == sample[0]).all(axis=(-3, -2, -1)))
            if len(at):
                subjects.append(volume.item.subject)
                heights.append(at[0][2])
                middle = [sum(bounds) / 2 for bounds in volume.box[:2]]
                assert np.abs(at[0][:2] + 7.5 - middle).max() <= 0.5
    assert len(subjects) == 4
    assert len(set(subjects)) == 3
    assert len(set(heights)) > 1
