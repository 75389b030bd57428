from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from scipy.ndimage import gaussian_filter, map_coordinates

from medstyle_gan.config.data_section import DataConfig
from medstyle_gan.config.warm_start_section import WarmStartConfig
from medstyle_gan.data import pair_refinement, pseudo_pairs
from medstyle_gan.data.cache import CachedCollection, prepare_collection
from medstyle_gan.data.collection import find_collection
from medstyle_gan.data.pair_refinement import refine_pseudo_pairs
from medstyle_gan.data.phantom import write_phantom_collections
from medstyle_gan.data.phantom.collections import PhantomFolders
from medstyle_gan.data.pseudo_pairs import PseudoPairs, make_pseudo_pairs
from medstyle_gan.data.registration import Registered
from medstyle_gan.data.slices import from_slices

DataSettings = Callable[..., DataConfig]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def config(cache: Path, data_settings: DataSettings) -> DataConfig:
    return data_settings(cache={"folder": str(cache)})


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> PhantomFolders:
    folder = tmp_path_factory.mktemp("phantoms")
    return write_phantom_collections(folder, subjects=3, shape=(24, 26, 12))


@pytest.fixture(scope="module")
def collections(
    config: DataConfig, phantoms: PhantomFolders
) -> tuple[CachedCollection, CachedCollection]:
    return _collections(phantoms, config)


def _collections(
    folders: PhantomFolders, config: DataConfig
) -> tuple[CachedCollection, CachedCollection]:
    scan, style = (
        prepare_collection(find_collection(str(path), config.subject_pattern), config, domain)
        for path, domain in ((folders.scans, "scan"), (folders.style, "style"))
    )
    return scan, style


@pytest.fixture(scope="module")
def pairs(collections: tuple[CachedCollection, CachedCollection], cache: Path) -> PseudoPairs:
    settings = WarmStartConfig(steps=4, pairs=2, least_overlap=0.5, least_information=0)
    return make_pseudo_pairs(*collections, settings, "axial", cache, seed=0)


def test_pairs_are_aligned_again_and_kept(
    pairs: PseudoPairs,
    collections: tuple[CachedCollection, CachedCollection],
    config: DataConfig,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(pair_refinement, "_STEPS", 3)
    told: list[tuple[int, int]] = []
    given = (*collections, config)
    refined = refine_pseudo_pairs(
        pairs, *given, cache, 0, on_progress=lambda *counts: told.append(counts)
    )
    assert told == [(number, 5) for number in range(1, 6)]
    for old, new in zip(pairs.kept, refined.kept, strict=True):
        assert new.scan is old.scan
        assert new.style.slices.shape == old.style.slices.shape
        assert new.style.slices.min() >= -1 - 1e-6
        assert not np.array_equal(new.style.slices, old.style.slices)
        assert set(np.unique(new.weight.slices)) == {0.0, 1.0}
    elsewhere = refine_pseudo_pairs(pairs, *given, tmp_path, 0)
    monkeypatch.setattr(pair_refinement, "_make", None)  # would fail
    again = refine_pseudo_pairs(pairs, *given, cache, 0)
    for one, other, third in zip(refined.kept, again.kept, elsewhere.kept, strict=True):
        assert np.array_equal(one.style.slices, other.style.slices)
        assert np.array_equal(one.style.slices, third.style.slices)


@pytest.mark.parametrize("plane", ["axial", "coronal"])
def test_stages_follow_each_other_and_the_style_is_looked_up_once(
    plane: str,
    phantoms: PhantomFolders,
    data_settings: DataSettings,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """By SciPy: refined, then aligned, then registered, then a cubic spline of its own voxels."""
    config = data_settings(plane=plane, cache={"folder": str(tmp_path)})
    scan, style = _collections(phantoms, config)
    turn, shift = np.array([[1.05, 0.1, 0], [-0.1, 0.95, 0], [0, 0, 1.1]]), np.array([1.0, 2, -1])
    affine = sitk.AffineTransform(3)
    affine.SetMatrix(turn.ravel().tolist())
    affine.SetTranslation(shift.tolist())
    found = Registered(affine, information=1.5, overlap=1.0, least_volume=1.0)
    monkeypatch.setattr(pseudo_pairs, "register", lambda *_: found)
    monkeypatch.setattr(pseudo_pairs, "align_locally", lambda fixed, *_: _bent(fixed.shape, 1))
    monkeypatch.setattr(pair_refinement, "align_locally", lambda fixed, *_: _bent(fixed.shape, 2))
    monkeypatch.setattr(pair_refinement, "_learned", lambda *_: torch.nn.Identity())
    settings = WarmStartConfig(steps=4, pairs=1, least_overlap=0.5, least_information=0)
    pairs = make_pseudo_pairs(scan, style, settings, plane, tmp_path, seed=0)
    refined = refine_pseudo_pairs(pairs, scan, style, config, tmp_path, 0)
    pair = pairs.kept[0]
    own = from_slices(np.asarray(pair.source.slices), plane)[0]
    spacing = np.array(pair.scan.spacing).reshape(3, 1, 1, 1)
    shape = from_slices(np.asarray(pair.scan.slices), plane).shape[1:]
    there = np.indices(shape) * spacing
    first, second = _bent(shape, 1), _bent(shape, 2)
    after = there + second
    aligned = after + [map_coordinates(b, after / spacing, order=1, mode="nearest") for b in first]
    for made, places in ((pair, there + first), (refined.kept[0], aligned)):
        looked_up = np.einsum("ij,jxyz->ixyz", turn, places) + shift.reshape(3, 1, 1, 1)
        looked_up /= np.array(pair.source.spacing).reshape(3, 1, 1, 1)
        expected = map_coordinates(own, looked_up, order=3, mode="mirror")
        inner = np.ones(shape, bool)
        for place, n in zip((*looked_up, *(after / spacing)), own.shape + shape, strict=True):
            inner &= (place >= 2) & (place <= n - 3)
        values = from_slices(np.asarray(made.style.slices), plane)[0]
        assert inner.sum() > 500
        assert np.abs(values - expected.clip(-1, 1))[inner].max() < 0.02
        assert np.ptp(values[inner]) > 1


def _bent(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """(3, X, Y, Z), a smooth displacement of up to 3 mm (mm)."""
    noise = np.random.default_rng(seed).standard_normal((3, *shape))
    bent = np.stack([gaussian_filter(n, 3) for n in noise])
    return (3 * bent / np.abs(bent).max()).astype(np.float32)


def test_where_nothing_is_compared_a_grey_pair_stays_as_it_is(
    pairs: PseudoPairs,
    collections: tuple[CachedCollection, CachedCollection],
    config: DataConfig,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Its channel is stored once, also where its collection has colour."""
    monkeypatch.setattr(pair_refinement, "_learned", lambda *_: None)
    pair = pairs.kept[0]
    nowhere = tmp_path / "nowhere.npy"
    np.save(nowhere, np.zeros(pair.weight.shape, np.float32))
    wide = replace(
        pair,
        style=replace(pair.style, channels=3, _loaded={}),
        weight=replace(pair.weight, path=nowhere, _loaded={}),
    )
    found = refine_pseudo_pairs(PseudoPairs((wide,), ()), *collections, config, tmp_path, 0)
    assert np.array_equal(found.kept[0].style.slices, wide.style.slices)
    assert np.array_equal(found.kept[0].style.read(5), wide.style.slices[5])


@pytest.mark.parametrize(
    "change", ["seed", "pair", "augmentation", "sampler", "precision", "array"]
)
def test_other_facts_are_refined_anew(
    change: str,
    pairs: PseudoPairs,
    collections: tuple[CachedCollection, CachedCollection],
    config: DataConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[int] = []

    def noted(pairs: PseudoPairs, *given: Any) -> None:
        made.append(1)
        for pair, paths in zip(pairs.kept, given[3], strict=True):
            for path in paths:
                np.save(path, np.zeros(pair.scan.shape, np.float32))

    monkeypatch.setattr(pair_refinement, "_make", noted)
    refine_pseudo_pairs(pairs, *collections, config, tmp_path, 0)
    refine_pseudo_pairs(pairs, *collections, config, tmp_path, 0)
    assert len(made) == 1
    if change == "array":  # one that was lost is made again
        next(tmp_path.glob("*.weight.npy")).unlink()
    others = {
        "augmentation": config.augmentation.model_copy(update={"gamma": 0.2}),
        "sampler": config.sampler.model_copy(update={"foreground": 0.0}),
    }
    other = config.model_copy(update={change: others[change]} if change in others else {})
    refine_pseudo_pairs(
        replace(pairs, kept=pairs.kept[:1]) if change == "pair" else pairs,
        *collections,
        other,
        tmp_path,
        int(change == "seed"),
        "bf16" if change == "precision" else "fp32",
    )
    assert len(made) == 2
