from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from medstyle_gan.cli import main
from medstyle_gan.config import load_config
from medstyle_gan.data import CachedCollection, find_collection, prepare_collection
from medstyle_gan.data.phantom import Phantom, make_phantom
from medstyle_gan.errors import UserError
from medstyle_gan.inference import Bundle, Translator, load_bundle, save_bundle
from medstyle_gan.inference.scope import FALSE_ALARM
from medstyle_gan.volumes import Geometry, Volume, write_volume

from .conftest import make_bundle, make_config

SHAPE = (40, 40, 10)


def volume_of(phantom: Phantom, array: np.ndarray) -> Volume:
    return Volume(array, Geometry.from_affine(array.shape, phantom.affine), phantom.dtype, True)


@cache
def phantoms(first: int, count: int) -> list[Phantom]:
    return [make_phantom(first + n, SHAPE, lesions=n % 2 == 0) for n in range(count)]


def collect(folder: Path, volumes: list[Volume], domain: Any, data: Any) -> CachedCollection:
    for number, volume in enumerate(volumes):
        path = folder / f"sub-{number:02d}.nii"
        write_volume(path, volume.array, volume.geometry, volume.dtype)
    found = find_collection(str(folder), data.subject_pattern)
    return prepare_collection(found, data, domain)


def trained_on(scans: list[Volume], styles: list[Volume], folder: Path) -> Bundle:
    """The bundle of a model of these collections, with the default intensity scales."""
    percentile = {"name": "percentile"}
    config = make_config(data={"intensity": {"scan": percentile, "style": percentile}})
    collections = {
        "scan": collect(folder / "scan", scans, "scan", config.data),
        "style": collect(folder / "style", styles, "style", config.data),
    }
    fingerprint = {name: c.fingerprint() for name, c in collections.items()}
    return replace(make_bundle(config), fingerprint=fingerprint)


@pytest.fixture(scope="module", params=[4, 10])
def translator(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Translator:
    """Knows four, or ten, subjects of each contrast."""
    known = phantoms(100, request.param)
    other = phantoms(200, request.param)
    bundle = trained_on(
        [volume_of(p, p.scan) for p in known],
        [volume_of(p, p.style) for p in other],
        tmp_path_factory.mktemp("scope"),
    )
    return Translator.load(bundle, device="cpu")


@pytest.mark.slow
@pytest.mark.parametrize("direction", ["scan_to_style", "style_to_scan"])
def test_held_out_phantoms_are_in_scope_and_the_other_contrast_is_not(
    translator: Translator, direction: Any
) -> None:
    own = translator.check_scope
    scans = [(volume_of(p, p.scan), volume_of(p, p.style)) for p in phantoms(300, 20)]
    mine, other = (0, 1) if direction == "scan_to_style" else (1, 0)
    flagged = [r.warnings for v in scans if not (r := own(v[mine], direction)).in_scope]
    assert not flagged
    found = [own(volumes[other], direction) for volumes in scans]
    assert sum(not report.in_scope for report in found) >= 19
    assert all(report.checked for report in found)
    assert any("which tissues are bright" in w for r in found for w in r.warnings)


def altered(volume: Volume, change: str) -> Volume:
    array, affine = volume.array, volume.geometry.affine.copy()
    if change == "voxels twice as large":
        affine[:3, :3] *= 2
    elif change == "inverted":
        inside = array > 0.08 * array.max()  # the head without the air around it
        array = np.where(inside, array[inside].max() + array[inside].min() - array, array)
    elif change == "another unit":
        array = array.astype(np.float32) * 50
    elif change == "half the head":
        array = np.ascontiguousarray(array[:, : array.shape[1] // 2])
    return Volume(array, Geometry.from_affine(array.shape, affine), array.dtype, False)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("voxels twice as large", "the voxel size towards"),
        ("inverted", "which tissues are bright and which dark"),
        ("another unit", "the range of native intensities is"),
        ("half the head", "the field of view towards"),
    ],
)
def test_says_what_is_out_of_scope(translator: Translator, change: str, words: str) -> None:
    phantom = make_phantom(400, SHAPE)
    scan = volume_of(phantom, phantom.scan)
    assert translator.check_scope(scan).in_scope
    report = translator.check_scope(altered(scan, change))
    assert not report.in_scope
    assert any(words in warning for warning in report.warnings)
    assert all("scan collection" in warning for warning in report.warnings)


def test_order_of_the_axes_in_the_file_does_not_matter(translator: Translator) -> None:
    phantom = make_phantom(401, SHAPE)
    scan = volume_of(phantom, phantom.scan)
    turned = np.ascontiguousarray(np.flip(np.transpose(scan.array, (2, 0, 1)), 1))
    turn = np.zeros((4, 4))
    turn[2, 0], turn[0, 1], turn[1, 2], turn[3, 3] = 1, -1, 1, 1
    turn[0, 3] = scan.array.shape[0] - 1
    same = Geometry.from_affine(turned.shape, scan.geometry.affine @ turn)
    reports = [translator.check_scope(v) for v in (scan, Volume(turned, same, scan.dtype, True))]
    assert reports[0].distances == pytest.approx(reports[1].distances, rel=1e-3)


def test_limit_is_students_quantile(translator: Translator) -> None:
    phantom = make_phantom(402, SHAPE)
    report = translator.check_scope(volume_of(phantom, phantom.scan))
    subjects = translator.fingerprint["scan"]["subjects"]
    limit = stats.t.isf(FALSE_ALARM / 2 / len(report.distances), 20 + subjects - 1)
    assert report.limit == pytest.approx(limit)


def test_translation_carries_the_warnings_and_strict_refuses(
    translator: Translator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    phantom = make_phantom(403, SHAPE)
    own, other = volume_of(phantom, phantom.scan), volume_of(phantom, phantom.style)
    assert translator.translate(own, strict=True).warnings == ()
    warnings = translator.translate(other).warnings
    assert warnings == translator.check_scope(other).warnings != ()
    with pytest.raises(UserError, match="--strict: out of scope: which tissues"):
        translator.translate(other, strict=True)

    model = tmp_path / "model"
    save_bundle(replace(make_bundle(translator.config), fingerprint=translator.fingerprint), model)
    for name, volume in (("own", own), ("other", other)):
        write_volume(tmp_path / "in" / f"{name}.nii", volume.array, volume.geometry, volume.dtype)
    command = ["translate", str(model), str(tmp_path / "in"), "-o", str(tmp_path / "out")]
    assert main([*command, "--strict"]) == 1
    assert "other.nii: --strict: out of scope" in capsys.readouterr().err
    assert (tmp_path / "out" / "own.nii").exists()
    assert not (tmp_path / "out" / "other.nii").exists()
    assert main(command) == 0
    assert (tmp_path / "out" / "other.nii").exists()


def test_older_model_says_that_nothing_can_be_checked(translator: Translator) -> None:
    phantom = make_phantom(404, SHAPE)
    scan = volume_of(phantom, phantom.scan)
    older = {
        domain: {k: v for k, v in known.items() if k != "appearance"}
        for domain, known in translator.fingerprint.items()
    }
    model = Translator.load(replace(make_bundle(translator.config), fingerprint=older))
    report = model.check_scope(scan)
    assert not report.checked
    assert not report.in_scope
    (warning,) = model.translate(scan).warnings
    assert "cannot be checked" in warning
    with pytest.raises(UserError, match="cannot be checked"):
        model.translate(scan, strict=True)


def test_fingerprint_of_the_collection_goes_through_a_bundle(
    translator: Translator, tmp_path: Path
) -> None:
    bundle = replace(make_bundle(translator.config), fingerprint=translator.fingerprint)
    loaded = load_bundle(save_bundle(bundle, tmp_path))
    assert loaded.fingerprint == translator.fingerprint


@pytest.mark.slow
def test_patient_twelve(shared_data: Path, tmp_path: Path) -> None:
    """Of real scans: no visit of a subject that was left out is flagged, nor patient 12's own
    contrast; the other contrast is."""
    openms = shared_data / "openms"
    config = load_config(Path(__file__).parents[2] / "configs" / "mr_t1_to_t2.yaml", [])
    data = config.data
    collections = {
        domain: prepare_collection(
            find_collection(str(openms / folder), data.subject_pattern), data, domain
        )
        for domain, folder in (("scan", "scans_T1"), ("style", "style_T2"))
    }
    fingerprint = {name: c.fingerprint() for name, c in collections.items()}
    translator = Translator.load(replace(make_bundle(config), fingerprint=fingerprint))
    for visit in ("patient12_s1", "patient12_s2"):
        t1, t2 = (openms / "val_pairs" / visit / f"{name}.nii.gz" for name in ("T1W", "T2W"))
        assert translator.check_scope(t1, "scan_to_style").in_scope
        assert translator.check_scope(t2, "style_to_scan").in_scope
        assert not translator.check_scope(t2, "scan_to_style").in_scope
        assert not translator.check_scope(t1, "style_to_scan").in_scope
    for domain, collection in collections.items():
        for volume in collection:
            rest = [v for v in collection if v.item.subject != volume.item.subject]
            known = {**fingerprint, domain: CachedCollection(rest, collection.domain).fingerprint()}
            translator.fingerprint = known
            report = translator.check_scope(
                volume.item.path, "scan_to_style" if domain == "scan" else "style_to_scan"
            )
            assert report.in_scope, report.warnings
