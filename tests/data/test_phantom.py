from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import binary_dilation
from scipy.stats import spearmanr

from medstyle_gan.data.phantom import (
    PHANTOM_KINDS,
    Phantom,
    Tissue,
    make_phantom,
    write_phantom_collections,
)
from medstyle_gan.data.phantom.anatomy import make_anatomy, with_lesions
from medstyle_gan.data.phantom.fields import smooth_field
from medstyle_gan.volumes import read_volume

SHAPE = (64, 72, 12)


@pytest.fixture(scope="module")
def t1_to_t2() -> Phantom:
    return make_phantom(3, SHAPE, lesions=True)


def typical(image: np.ndarray, phantom: Phantom, tissue: Tissue) -> float:
    return float(np.median(image[phantom.labels == tissue]))


@pytest.mark.parametrize("kind", PHANTOM_KINDS)
def test_the_same_seed_gives_the_same_phantom_and_another_another(kind) -> None:
    first, again, other = (make_phantom(seed, SHAPE, kind=kind) for seed in (5, 5, 6))
    for name in ("scan", "style", "labels", "mask", "affine"):
        assert np.array_equal(getattr(first, name), getattr(again, name))
        assert not np.array_equal(getattr(first, name), getattr(other, name))


def test_field_has_unit_variance_everywhere_and_varies_smoothly() -> None:
    rng = np.random.default_rng(0)
    fields = np.stack([smooth_field(rng, (24, 20, 16), (2, 2, 3), 12.0) for _ in range(400)])
    assert fields.std(axis=0) == pytest.approx(np.ones((24, 20, 16)), abs=0.2)
    assert abs(fields.mean()) < 0.05
    steps = np.diff(fields, axis=1).std()
    assert 0 < steps < 0.4  # 2 mm apart at a wavelength of 12 mm


def test_field_does_not_depend_on_how_finely_it_is_sampled() -> None:
    coarse, fine = (
        smooth_field(np.random.default_rng(1), (n, n, n), (s, s, s), 10.0)
        for n, s in ((9, 4.0), (17, 2.0))
    )
    np.testing.assert_allclose(fine[::2, ::2, ::2], coarse, atol=1e-5)


def test_tissue_fractions_sum_to_one_with_partial_volumes() -> None:
    rng = np.random.default_rng(0)
    anatomy = with_lesions(rng, make_anatomy(rng, SHAPE, (2.5, 2.5, 3.0)))
    np.testing.assert_allclose(anatomy.fractions.sum(axis=0), 1, atol=1e-5)
    assert anatomy.fractions.min() >= -1e-6
    assert 0.1 < np.mean(anatomy.fractions.max(axis=0) < 0.9) < 0.6


def test_all_tissues_occur_in_plausible_amounts(t1_to_t2) -> None:
    head = t1_to_t2.labels[t1_to_t2.mask]
    share = np.bincount(head, minlength=len(Tissue)) / head.size
    assert (share[Tissue.SCALP :] > 0.001).all()
    assert share[Tissue.WHITE_MATTER] > 0.15
    assert share[Tissue.GREY_MATTER] > 0.08
    assert 0.2 < t1_to_t2.mask.mean() < 0.7


def test_contrasts_have_the_orders_of_t1_and_t2(t1_to_t2) -> None:
    order = (Tissue.WHITE_MATTER, Tissue.GREY_MATTER, Tissue.CSF)
    white, grey, csf = (typical(t1_to_t2.scan, t1_to_t2, tissue) for tissue in order)
    assert white > 1.2 * grey > 1.2 * 1.2 * csf
    assert typical(t1_to_t2.scan, t1_to_t2, Tissue.SCALP) > 0.9 * white
    white, grey, csf = (typical(t1_to_t2.style, t1_to_t2, tissue) for tissue in order)
    assert csf > 1.2 * grey > 1.2 * 1.2 * white


def test_no_rising_map_leads_from_t1_to_t2(t1_to_t2) -> None:
    brain = np.isin(t1_to_t2.labels, (Tissue.CSF, Tissue.GREY_MATTER, Tissue.WHITE_MATTER))
    assert spearmanr(t1_to_t2.scan[brain], t1_to_t2.style[brain]).statistic < -0.4
    skull = typical(t1_to_t2.style, t1_to_t2, Tissue.SKULL)
    assert skull < typical(t1_to_t2.style, t1_to_t2, Tissue.WHITE_MATTER)  # and no falling one


def test_lesions_lie_in_white_matter_and_are_bright_in_t2_only_when_asked_for(t1_to_t2) -> None:
    healthy = make_phantom(3, SHAPE)
    assert not healthy.lesion_mask.any()
    assert t1_to_t2.lesion_mask.sum() > 5
    lesion, white = (
        typical(t1_to_t2.style, t1_to_t2, tissue) for tissue in (Tissue.LESION, Tissue.WHITE_MATTER)
    )
    assert lesion > 1.4 * white
    assert (healthy.labels[t1_to_t2.lesion_mask] == Tissue.WHITE_MATTER).all()


def test_a_subject_with_lesions_is_otherwise_the_same(t1_to_t2) -> None:
    healthy = make_phantom(3, SHAPE)
    assert np.array_equal(healthy.affine, t1_to_t2.affine)
    near = binary_dilation(t1_to_t2.labels != healthy.labels, iterations=4)
    for name in ("scan", "style"):
        before, after = (getattr(p, name)[~near] for p in (healthy, t1_to_t2))
        assert np.abs(before - after).max() <= 0.02 * before.max()


def test_geometry_looks_like_a_scanners() -> None:
    phantoms = [make_phantom(seed, (32, 32, 8)) for seed in range(12)]
    orientations, dtypes = set(), set()
    for phantom in phantoms:
        columns = phantom.affine[:3, :3]
        spacing = np.linalg.norm(columns, axis=0)
        directions = columns / spacing
        np.testing.assert_allclose(directions.T @ directions, np.eye(3), atol=1e-10)  # no shear
        assert 2.9 < spacing[2] < 3.1
        tilt = np.degrees(np.arccos(np.abs(directions).max(axis=0)))
        assert 0 < tilt.max() < 20
        orientations.add(tuple(np.sign(np.diag(columns))))
        dtypes.add(phantom.dtype.name)
    assert len(orientations) >= 3
    assert dtypes == {"int16", "uint16"}
    spacing = np.linalg.norm(make_phantom(0).affine[:3, :3], axis=0)  # at the default shape
    assert ((spacing >= 1) & (spacing <= 3)).all()


def test_cone_beam_ct_is_cupped_and_ct_has_true_hounsfield_units() -> None:
    phantom = make_phantom(1, (64, 64, 10), kind="cbct_to_ct")
    assert phantom.dtype == np.int16
    assert phantom.scan.min() == phantom.style.min() == -1024
    assert typical(phantom.style, phantom, Tissue.WHITE_MATTER) == pytest.approx(30, abs=15)
    inside = phantom.style[(phantom.labels == Tissue.AIR) & (phantom.style > -1024)]
    assert np.median(inside) == pytest.approx(-1000, abs=15)
    white = phantom.labels == Tissue.WHITE_MATTER
    x, y = np.meshgrid(*(np.arange(64) - 31.5,) * 2, indexing="ij")
    radius = np.broadcast_to(np.hypot(x, y)[..., None], white.shape)
    error = phantom.scan - phantom.style
    middle, rim = (error[white & near].mean() for near in (radius < 10, radius > 17))
    assert middle < rim - 20


def test_other_scanner_keeps_the_order_of_tissues_and_is_sharper() -> None:
    phantom = make_phantom(2, (64, 64, 10), kind="mr_scanner")
    tissues = (Tissue.SKULL, Tissue.CSF, Tissue.GREY_MATTER, Tissue.WHITE_MATTER)
    for image in (phantom.scan, phantom.style):
        values = [typical(image, phantom, tissue) for tissue in tissues[1:]]
        assert values == sorted(values)
    assert phantom.style.max() > 1.5 * phantom.scan.max()

    def edges(image: np.ndarray) -> float:
        scaled = image / np.median(image[phantom.mask])
        return float(np.percentile(np.abs(np.diff(scaled, axis=0)), 99))

    assert edges(phantom.style) > 1.3 * edges(phantom.scan)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"kind": "pet"}, "unknown phantom kind 'pet'"), ({"shape": (64, 64, 4)}, "too small")],
)
def test_impossible_phantoms_are_refused(arguments, message) -> None:
    with pytest.raises(ValueError, match=message):
        make_phantom(0, **arguments)


def test_collections_are_written_as_volumes_of_distinct_subjects(tmp_path: Path) -> None:
    folders = write_phantom_collections(
        tmp_path / "data", subjects=2, pairs=1, seed=7, shape=(24, 24, 8), lesions=True
    )
    assert [p.name for p in sorted(folders.scans.iterdir())] == [
        "sub-001_T1w.nii.gz",
        "sub-002_T1w.nii.gz",
    ]
    assert [p.name for p in sorted(folders.style.iterdir())] == [
        "sub-101_T2w.nii.gz",
        "sub-102_T2w.nii.gz",
    ]
    pair = folders.pairs / "sub-201"
    volumes = {p.name.removesuffix(".nii.gz"): read_volume(p) for p in sorted(pair.iterdir())}
    assert set(volumes) == {"scan", "style", "mask", "labels"}
    assert volumes["scan"].integer
    for volume in volumes.values():
        assert volume.geometry.same_grid(volumes["scan"].geometry)
    labels = np.asarray(volumes["labels"].array)
    inside = np.asarray(volumes["mask"].array) > 0
    assert (labels[~inside] == Tissue.AIR).mean() > 0.95
    scans = [np.asarray(read_volume(p).array) for p in sorted(folders.scans.iterdir())]
    assert not np.array_equal(*scans)


def test_collections_are_the_same_again_from_the_same_seed(tmp_path: Path) -> None:
    arrays = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        folders = write_phantom_collections(
            tmp_path / name, subjects=1, pairs=0, seed=seed, shape=(24, 24, 8)
        )
        arrays.append(np.asarray(read_volume(next(folders.style.iterdir())).array))
    assert np.array_equal(arrays[0], arrays[1])
    assert not np.array_equal(arrays[0], arrays[2])
