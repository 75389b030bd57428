from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medstyle_gan.config.data_section import DataConfig
from medstyle_gan.config.warm_start_section import WarmStartConfig
from medstyle_gan.data import pair_refinement
from medstyle_gan.data.cache import CachedCollection, prepare_collection
from medstyle_gan.data.collection import find_collection
from medstyle_gan.data.pair_refinement import refine_pseudo_pairs
from medstyle_gan.data.phantom import write_phantom_collections
from medstyle_gan.data.pseudo_pairs import PseudoPairs, make_pseudo_pairs

DataSettings = Callable[..., DataConfig]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def config(cache: Path, data_settings: DataSettings) -> DataConfig:
    return data_settings(cache={"folder": str(cache)})


@pytest.fixture(scope="module")
def collections(
    config: DataConfig, tmp_path_factory: pytest.TempPathFactory
) -> tuple[CachedCollection, CachedCollection]:
    folders = write_phantom_collections(
        tmp_path_factory.mktemp("phantoms"), subjects=3, shape=(24, 26, 12)
    )
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
                np.save(path, np.zeros((3, *pair.scan.shape), np.float32))

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
