from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch

from medstyle_gan.config import Config
from medstyle_gan.config.data_section import DataConfig
from medstyle_gan.data import subject_pairs
from medstyle_gan.data.cache import CachedCollection, prepare_collection
from medstyle_gan.data.collection import find_collection
from medstyle_gan.data.datamodule import UnpairedDataModule
from medstyle_gan.data.paired_sampling import PairedDataset
from medstyle_gan.data.sampling import UnpairedDataset
from medstyle_gan.data.subject_pairs import SubjectPairs, make_subject_pairs
from medstyle_gan.errors import UserError

DataSettings = Callable[..., DataConfig]
Affine = Callable[..., np.ndarray]
FIXED = {"name": "fixed", "lower": -2000, "upper": 2000, "clip": False}
INTENSITY = {"scan": FIXED, "style": FIXED}
RADII = np.array([30.0, 34.0, 20.0])
# Shape, spacing (mm), and how far it is turned (degrees).
SCAN_GRID = ((40, 44, 16), (2.0, 2.0, 3.0), 0.0)
STYLE_GRID = ((46, 40, 12), (1.8, 2.2, 3.5), 9.0)


def _head(place: np.ndarray, slope: np.ndarray) -> np.ndarray:
    """Values that are linear in mm in an ellipsoid around the origin, else 0."""
    inside = ((place.T / RADII) ** 2).sum(axis=-1).T < 1
    return np.where(inside, 800 + np.tensordot(slope, place, 1), 0.0)


def _places(affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """(3, X, Y, Z) mm of a grid's voxels, by nibabel."""
    index = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), axis=-1)
    return np.moveaxis(nib.affines.apply_affine(affine, index), -1, 0)


def _centred(affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    centred = affine.copy()
    centred[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return centred


SLOPES = {"scan": np.array([4.0, -3.0, 2.0]), "style": np.array([-2.0, 5.0, 6.0])}


@pytest.fixture(scope="module")
def root(
    tmp_path_factory: pytest.TempPathFactory,
    affine_of: Affine,
    write_nifti: Callable[..., Path],
) -> Path:
    """Two subjects in both collections, the second's style one slab too short; one alone."""
    folder = tmp_path_factory.mktemp("declared")
    for domain, (shape, spacing, degrees) in (("scan", SCAN_GRID), ("style", STYLE_GRID)):
        affine = _centred(affine_of(spacing, degrees), shape)
        array = _head(_places(affine, shape), SLOPES[domain]).astype(np.float32)
        own = "03" if domain == "scan" else "04"
        for name in ("01", "02", own):
            # No two files may be the same.
            array[0, 0, 0] = int(name) + (10 if domain == "style" else 0)
            kept = array[..., :7] if (domain, name) == ("style", "02") else array
            write_nifti(folder / domain / f"sub-{name}.nii.gz", kept, affine)
    return folder


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def collections(
    root: Path, cache: Path, data_settings: DataSettings
) -> tuple[CachedCollection, CachedCollection]:
    config = data_settings(cache={"folder": str(cache)}, intensity=INTENSITY)
    scan, style = (
        prepare_collection(
            find_collection(str(root / domain), config.subject_pattern), config, domain, masks=True
        )
        for domain in ("scan", "style")
    )
    return scan, style


@pytest.fixture(scope="module")
def pairs(collections: tuple[CachedCollection, CachedCollection], cache: Path) -> SubjectPairs:
    return make_subject_pairs(*collections, "axial", cache)


def _subjects(collection: CachedCollection, *subjects: str) -> CachedCollection:
    named = (
        replace(v, item=replace(v.item, subject=s))
        for v, s in zip(collection, subjects, strict=True)
    )
    return CachedCollection(named, collection.domain)


def test_pairs_are_of_one_subject_and_who_is_alone_is_told(pairs: SubjectPairs) -> None:
    assert [p.scan.item.subject for p in pairs.kept] == ["sub-01", "sub-02"]
    assert all(p.scan.item.subject == p.style.item.subject for p in pairs.kept)
    told = pairs.describe()
    assert "2 declared pairs of 2 subjects" in told
    assert "1 scans and 1 style volumes are left out, without a partner" in told
    assert "sub-" not in told


def test_a_style_volume_is_where_its_file_says(pairs: SubjectPairs, affine_of: Affine) -> None:
    """Linear values come out exactly, wherever no edge is interpolated."""
    shape, spacing, degrees = SCAN_GRID
    place = _places(_centred(affine_of(spacing, degrees), shape), shape)
    wanted = _head(place, SLOPES["style"])
    deep = ((place.T / (RADII - 6)) ** 2).sum(axis=-1).T < 1
    pair = pairs.kept[0]
    found = pair.style.scale.from_unit(np.moveaxis(pair.style.slices[:, 0], 0, -1))
    assert deep.sum() > 3000
    np.testing.assert_allclose(found[deep], wanted[deep], atol=0.05)
    mask = np.moveaxis(pair.style.mask.slices[:, 0], 0, -1) > 0  # type: ignore[union-attr]
    assert mask[deep].all()
    assert not mask[((place.T / (RADII + 6)) ** 2).sum(axis=-1).T > 1].any()
    assert pair.overlap > 0.95


def test_the_weight_is_where_the_style_volume_is(pairs: SubjectPairs, affine_of: Affine) -> None:
    shape, spacing, degrees = SCAN_GRID
    place = np.moveaxis(_places(_centred(affine_of(spacing, degrees), shape), shape), 0, -1)
    sizes, spacing, degrees = STYLE_GRID
    style = _centred(affine_of(spacing, degrees), sizes)
    index = nib.affines.apply_affine(np.linalg.inv(style), place)
    for pair, depth in zip(pairs.kept, (sizes[2], 7), strict=True):
        limits = np.array([*sizes[:2], depth]) - 0.5
        clear = (np.abs(index + 0.5) > 0.01).all(-1) & (np.abs(index - limits) > 0.01).all(-1)
        wanted = ((index >= -0.5) & (index <= limits)).all(axis=-1)
        weight = np.moveaxis(pair.weight.slices[:, 0], 0, -1)
        assert np.array_equal(weight[clear] > 0, wanted[clear])
    # Only slices that both show are drawn.
    last = np.flatnonzero(pairs.kept[1].scan.foreground_share).max()
    assert last < np.flatnonzero(pairs.kept[0].scan.foreground_share).max()


def test_pairs_come_from_the_cache_the_second_time(
    pairs: SubjectPairs,
    collections: tuple[CachedCollection, CachedCollection],
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(subject_pairs, "resampled", None)  # would fail
    again = make_subject_pairs(*collections, "axial", cache)
    for one, other in zip(pairs.kept, again.kept, strict=True):
        assert np.array_equal(one.style.slices, other.style.slices)
        assert one.overlap == other.overlap


def test_collections_without_a_subject_in_common_are_refused(
    collections: tuple[CachedCollection, CachedCollection], cache: Path
) -> None:
    scan, style = _subjects(collections[0], "a", "b", "c"), _subjects(collections[1], *"def")
    with pytest.raises(UserError, match=r"data.pairing=subject.*data.subject_pattern"):
        make_subject_pairs(scan, style, "axial", cache)


def test_pictures_have_no_positions_to_pair_by(
    collections: tuple[CachedCollection, CachedCollection], cache: Path
) -> None:
    scan, style = collections
    drawn = CachedCollection((replace(v, is_picture=True) for v in style), "style")
    with pytest.raises(UserError, match=r"pictures.*data.pairing=none"):
        make_subject_pairs(scan, drawn, "axial", cache)


def test_bodies_in_different_places_are_no_pair(
    collections: tuple[CachedCollection, CachedCollection],
    cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    position = subject_pairs.working_affine

    def elsewhere(volume: Any) -> np.ndarray:
        affine = position(volume)
        if volume.item.path.parent.name == "style" and "01" in volume.item.path.name:
            affine[0, 3] += 45
        return affine

    monkeypatch.setattr(subject_pairs, "working_affine", elsewhere)
    found = make_subject_pairs(*collections, "axial", tmp_path)
    assert len(found.kept) == found.elsewhere == 1
    assert "1 pairs are left out, whose bodies are in different places" in found.describe()
    alone = [c.select([c[0].item]) for c in collections]
    with pytest.raises(UserError, match=r"of none of 1 pairs.*register the style volumes"):
        make_subject_pairs(*alone, "axial", tmp_path)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "data", [{}, {"dims": 2.5}, {"dims": 3, "sample_size": (16, 16, 8)}], ids=["2", "2.5", "3"]
)
def test_both_of_a_pair_are_changed_alike(
    data: dict[str, Any],
    pairs: SubjectPairs,
    collections: tuple[CachedCollection, CachedCollection],
    data_settings: DataSettings,
) -> None:
    itself = SubjectPairs(tuple(replace(p, style=p.scan) for p in pairs.kept))
    config = data_settings(**data)
    unpaired = UnpairedDataset(*collections, config, 3, 30)
    dataset = PairedDataset(unpaired, itself, config, 3, 2, masks=True, heights=True)
    assert len(dataset) == 30
    assert torch.equal(dataset[1]["style"], unpaired[1]["style"])
    drawn = set()
    for index in range(2, 30):
        sample = dataset[index]
        assert torch.equal(sample["scan"], sample["style"])
        assert torch.equal(sample["scan_mask"], sample["style_mask"])
        assert sample["scan_height"] == sample["style_height"]
        assert sample["pair_weight"].shape == sample["scan"].shape
        assert 0 <= sample["pair_weight"].min() <= sample["pair_weight"].max() <= 1
        assert sample["pair_weight"].any()
        assert torch.equal(dataset[index]["scan"], sample["scan"])
        drawn.add(float(sample["scan_height"]))
    assert len(drawn) > 3


def test_a_pair_for_scoring_is_never_learned_from(
    root: Path, cache: Path, settings: Callable[..., Config], tmp_path: Path
) -> None:
    """By its subject's name it is left out; under another name it is refused."""
    for name in ("sub-01", "another"):
        scored = tmp_path / name / "pairs" / name
        scored.mkdir(parents=True)
        for domain in ("scan", "style"):
            file = root / domain / "sub-01.nii.gz"
            (scored / f"{domain}.nii.gz").write_bytes(file.read_bytes())

    def module(name: str) -> UnpairedDataModule:
        config = settings(
            scans=str(root / "scan"),
            style=str(root / "style"),
            pairing="subject",
            pairs={"folder": str(tmp_path / name / "pairs")},
            cache={"folder": str(cache)},
            intensity=INTENSITY,
        )
        found = UnpairedDataModule(config)
        found.setup()
        return found

    left = module("sub-01")
    left.prepare_pairs()
    assert left.subject_pairs is not None
    assert [p.scan.item.subject for p in left.subject_pairs.kept] == ["sub-02"]
    with pytest.raises(UserError, match=r"another/.*is for scoring.*take its subject out"):
        module("another").prepare_pairs()
