from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from medstyle_gan.config.data_section import DataConfig
from medstyle_gan.config.warm_start_section import WarmStartConfig
from medstyle_gan.data import pseudo_pairs
from medstyle_gan.data.cache import CachedCollection, prepare_collection
from medstyle_gan.data.collection import find_collection
from medstyle_gan.data.phantom import write_phantom_collections
from medstyle_gan.data.pseudo_pairs import PseudoPairs, choose_partners, make_pseudo_pairs
from medstyle_gan.data.sampling import UnpairedDataset, fixed_pairs
from medstyle_gan.errors import UserError

SETTINGS = WarmStartConfig(steps=4, pairs=3, least_overlap=0.5, least_information=0)
DataSettings = Callable[..., DataConfig]
Collections = tuple[CachedCollection, CachedCollection]


@pytest.fixture(scope="module", autouse=True)
def _folds_allowed() -> Iterator[None]:
    """Bodies of a few voxels are deformed to near folding, on some machines beyond it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pseudo_pairs, "_LEAST_VOLUME", -math.inf)
        yield


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def collections(
    cache: Path, data_settings: DataSettings, tmp_path_factory: pytest.TempPathFactory
) -> Collections:
    folders = write_phantom_collections(
        tmp_path_factory.mktemp("phantoms"), subjects=3, shape=(24, 24, 12)
    )
    config = data_settings(cache={"folder": str(cache)})
    scan, style = (
        prepare_collection(find_collection(str(path), config.subject_pattern), config, domain)
        for path, domain in ((folders.scans, "scan"), (folders.style, "style"))
    )
    return scan, style


@pytest.fixture(scope="module")
def pairs(collections: Collections, cache: Path) -> PseudoPairs:
    return make_pseudo_pairs(*collections, SETTINGS, "axial", cache, seed=0)


def _of_subjects(collection: CachedCollection, *subjects: str) -> CachedCollection:
    """The same volumes, said to be of other subjects."""
    volumes = zip(collection, subjects, strict=True)
    named = (replace(v, item=replace(v.item, subject=name)) for v, name in volumes)
    return CachedCollection(named, collection.domain)


def test_partners_are_never_of_the_same_subject(collections: Collections) -> None:
    scan = _of_subjects(collections[0], "a", "b", "c")
    style = _of_subjects(collections[1], "b", "a", "a")
    every = choose_partners(scan, style, 100, seed=0)
    assert len(every) == len(set(every)) == 1 + 2 + 3
    assert all(scan[a].item.subject != style[b].item.subject for a, b in every)
    # Each scan has one before any has two, and the third partner is of a subject seen before.
    assert {a for a, _ in every[:3]} == {0, 1, 2}
    first, second = [style[b].item.subject for a, b in every if a == 2][:2]
    assert {first, second} == {"a", "b"}
    assert choose_partners(scan, style, 2, seed=0) == every[:2]


def test_one_and_the_same_subject_is_refused(collections: Collections, cache: Path) -> None:
    same = [_of_subjects(collection, "a", "a", "a") for collection in collections]
    with pytest.raises(UserError, match=r"different subjects.*training.warm_start.steps=0"):
        make_pseudo_pairs(*same, SETTINGS, "axial", cache, seed=0)


def test_a_pair_lies_on_the_scans_grid(pairs: PseudoPairs) -> None:
    assert len(pairs.kept) == 3
    for pair in pairs.kept:
        assert pair.style.shape == pair.scan.shape
        weight = pair.weight.slices
        assert set(np.unique(weight)) == {0.0, 1.0}
        assert weight.mean() > 0.3
        assert pair.overlap > 0.8
        assert pair.scan.item.subject != pair.style.item.subject
    assert "3 pseudo-pairs of 3 subjects" in pairs.describe()


def test_pairs_come_from_the_cache_the_second_time(
    pairs: PseudoPairs, collections: Collections, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pseudo_pairs, "register", None)  # would fail
    again = make_pseudo_pairs(*collections, SETTINGS, "axial", cache, seed=0)
    for one, other in zip(pairs.kept, again.kept, strict=True):
        assert np.array_equal(one.style.slices, other.style.slices)
        assert (one.information, one.overlap) == (other.information, other.overlap)


def test_bad_registrations_are_dropped(
    pairs: PseudoPairs, collections: Collections, cache: Path
) -> None:
    overlaps = sorted(pair.overlap for pair in pairs.kept)
    middle = WarmStartConfig(pairs=3, least_overlap=overlaps[1], least_information=0)
    kept = make_pseudo_pairs(*collections, middle, "axial", cache, seed=0)
    assert len(kept.kept) == 2
    assert len(kept.dropped) == 1
    assert "1 dropped: bodies overlap by less" in kept.describe()
    all_of_it = WarmStartConfig(pairs=3, least_overlap=1.0)
    with pytest.raises(UserError, match="none of 3 registrations"):
        make_pseudo_pairs(*collections, all_of_it, "axial", cache, seed=0)


def test_what_folds_is_dropped(
    collections: Collections, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pseudo_pairs, "_LEAST_VOLUME", math.inf)
    with pytest.raises(UserError, match=r"none of 3 registrations.*\(the deformation folds\)"):
        make_pseudo_pairs(*collections, SETTINGS, "axial", cache, seed=0)


@pytest.mark.parametrize(
    "data", [{}, {"dims": 2.5}, {"dims": 3, "sample_size": (16, 16, 8)}], ids=["2", "2.5", "3"]
)
def test_both_of_a_pair_are_changed_alike(
    data: dict[str, Any],
    pairs: PseudoPairs,
    collections: Collections,
    data_settings: DataSettings,
) -> None:
    mirrored = tuple(replace(pair, style=pair.scan) for pair in pairs.kept)
    itself = PseudoPairs(mirrored, ())
    config = data_settings(**data)
    dataset = UnpairedDataset(*collections, config, 3, 40, itself, warm_samples=20)
    for index in range(20):
        sample = dataset[index]
        assert torch.equal(sample["scan"], sample["style"])
        assert sample["weight"].shape == sample["scan"].shape
        assert 0 <= sample["weight"].min() <= sample["weight"].max() <= 1
        assert torch.equal(dataset[index]["weight"], sample["weight"])
    assert "weight" not in dataset[20]
    plain = UnpairedDataset(*collections, config, 3, 40)
    assert torch.equal(plain[20]["style"], dataset[20]["style"])


@pytest.mark.parametrize(
    "data", [{}, {"dims": 2.5}, {"dims": 3, "sample_size": (16, 16, 8)}], ids=["2", "2.5", "3"]
)
def test_kept_pairs_come_with_styles_drawn_independently(
    data: dict[str, Any],
    pairs: PseudoPairs,
    collections: Collections,
    data_settings: DataSettings,
) -> None:
    itself = PseudoPairs(tuple(replace(pair, style=pair.scan) for pair in pairs.kept), ())
    config = data_settings(**data)
    dataset = UnpairedDataset(*collections, config, 3, 40, itself, warm_samples=20, kept=True)
    assert set(dataset[19]) == {"scan", "style", "weight", "index"}
    partners = set()
    for index in range(20, 40):
        sample = dataset[index]
        assert torch.equal(sample["scan"], sample["pseudo_style"])
        assert not torch.equal(sample["style"], sample["pseudo_style"])
        assert sample["weight"].shape == sample["scan"].shape
        again = dataset[index]
        assert all(torch.equal(again[name], sample[name]) for name in ("style", "weight"))
        partners.add(sample["style"].numpy().tobytes())
    assert len(partners) > 15
    with pytest.raises(ValueError, match="there are none"):
        UnpairedDataset(*collections, config, 3, 40, kept=True)


@pytest.mark.parametrize("kept", [False, True])
def test_gamma_changes_scans_alone(
    kept: bool, pairs: PseudoPairs, collections: Collections, data_settings: DataSettings
) -> None:
    def samples(gamma: float) -> list[dict[str, Any]]:
        config = data_settings(augmentation={"gamma": gamma})
        dataset = UnpairedDataset(*collections, config, 3, 12, pairs, warm_samples=6, kept=kept)
        return [dataset[index] for index in range(12)]

    exponents = []
    for plain, changed, again in zip(samples(0), samples(0.3), samples(0.3), strict=True):
        for name in plain:
            if name not in ("scan", "index"):
                assert torch.equal(plain[name], changed[name]), name
        assert torch.equal(changed["scan"], again["scan"])
        dark, gray = ((s["scan"].double() + 1) / 2 for s in (plain, changed))
        inside = (dark > 0.1) & (dark < 0.9)
        exponent = gray[inside].log() / dark[inside].log()  # the same everywhere
        assert exponent.std() < 1e-4 * exponent.mean()
        exponents.append(float(exponent.mean()))
    assert np.abs(np.log(exponents)).max() <= 0.3
    assert len({round(e, 4) for e in exponents}) == 12


@pytest.mark.parametrize(
    "data", [{}, {"dims": 2.5}, {"dims": 3, "sample_size": (16, 16, 8)}], ids=["2", "2.5", "3"]
)
def test_fixed_pairs_are_the_same_places_of_both(
    data: dict[str, Any], pairs: PseudoPairs, data_settings: DataSettings
) -> None:
    config = data_settings(**data)
    itself = PseudoPairs(tuple(replace(pair, style=pair.scan) for pair in pairs.kept), ())
    same = fixed_pairs(itself, config, 4, seed=0)
    assert torch.equal(same["scan"], same["style"])
    assert "mask" not in same  # these collections have none
    samples = fixed_pairs(pairs, config, 4, seed=0)
    assert torch.equal(samples["scan"], same["scan"])
    assert not torch.equal(samples["style"], same["scan"])
    assert samples["weight"].shape == samples["scan"].shape
    assert set(samples["weight"].unique().tolist()) <= {0.0, 1.0}
    # Each pair before any comes again.
    assert len({image.numpy().tobytes() for image in samples["style"]}) == 4
    with_masks = tuple(
        replace(pair, scan=replace(pair.scan, mask=pair.weight)) for pair in pairs.kept
    )
    masked = fixed_pairs(PseudoPairs(with_masks, ()), config, 4, seed=0)
    assert masked["mask"].dtype == torch.bool
    assert torch.equal(masked["mask"], samples["weight"] > 0.5)
