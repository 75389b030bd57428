from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from medstyle_gan.config import Config
from medstyle_gan.config.data_section import PairsConfig
from medstyle_gan.data.cached_volume import CachedCollection
from medstyle_gan.data.collection import find_collection
from medstyle_gan.data.intensity_map import LEVELS, IntensityMap
from medstyle_gan.data.phantom import PhantomFolders
from medstyle_gan.data.preprocessing import prepare_volume
from medstyle_gan.errors import UserError
from medstyle_gan.evaluation import compare_pairs, find_pairs, fit_references
from medstyle_gan.evaluation.candidates import Remembering, make_candidates
from medstyle_gan.evaluation.comparison import prepare_mask
from medstyle_gan.evaluation.material import RunRecord, SubjectScans, gather
from medstyle_gan.evaluation.references import style_intensities
from medstyle_gan.evaluation.subjects import pair_subjects, scan_subjects
from medstyle_gan.volumes import read_volume, write_volume


def pairs_in(folder: Path):
    return find_pairs(PairsConfig(folder=str(folder)))


def test_pairs_become_subjects_on_the_networks_grid(
    phantoms: PhantomFolders, config: Config
) -> None:
    pairs = pairs_in(phantoms.pairs)
    subjects = pair_subjects(pairs, config.data, show_names=False)
    assert [s.name for s in subjects] == ["subject 1", "subject 2"]
    subject, pair = subjects[0], pairs[0]
    prepared = prepare_volume(read_volume(pair.scan), config.data, "scan")
    np.testing.assert_array_equal(subject.scan, prepared.array[0])
    truth = prepare_volume(read_volume(pair.style), config.data, "style")
    np.testing.assert_array_equal(subject.truth, truth.array[0])
    # Where the scale did not clip, native values and unit values are the same volume.
    inside = np.abs(subject.truth) < 0.99
    np.testing.assert_allclose(
        truth.scale.to_unit(subject.native_truth.copy())[inside], subject.truth[inside], atol=1e-3
    )
    assert subject.spacing == pytest.approx((6, 6, prepared.spacing[2]))
    assert subject.mask_given


def test_labels_keep_their_values_and_places(phantoms: PhantomFolders, config: Config) -> None:
    pair = pairs_in(phantoms.pairs)[0]
    assert pair.labels is not None
    subject = pair_subjects([pair], config.data, show_names=True)[0]
    assert subject.name == "sub-201"
    assert set(np.unique(subject.labels)) <= set(np.unique(read_volume(pair.labels).array))
    # A label's voxels are those that linear interpolation of its mask calls at least half it.
    volume = read_volume(pair.labels)
    white = volume.with_array((np.asarray(volume.array) == 6).astype(np.float32))
    theirs, ours = prepare_mask(white, config.data), subject.labels == 6
    assert 2 * (ours & theirs).sum() / (ours.sum() + theirs.sum()) > 0.85


def test_labels_must_be_whole_numbers(pair_folder: Path, config: Config) -> None:
    pair = pairs_in(pair_folder)[0]
    volume = read_volume(pair.labels)
    write_volume(pair.labels, np.asarray(volume.array) + 0.5, volume.geometry)
    with pytest.raises(UserError, match=r"labels\.nii\.gz: labels must be whole numbers"):
        pair_subjects([pair], config.data, show_names=False)[0]


def test_scans_alone_have_no_truth_and_a_found_mask(
    phantoms: PhantomFolders, config: Config
) -> None:
    found = find_collection(str(phantoms.scans), config.data.subject_pattern)
    subjects = scan_subjects(found, config.data, show_names=False)
    assert [s.name for s in subjects] == ["subject 1", "subject 2"]
    assert subjects[0].truth is None
    assert not subjects[0].mask_given
    assert 0.1 < subjects[0].mask.mean() < 0.9


def test_subjects_are_read_when_asked_for_and_pickle(
    phantoms: PhantomFolders, config: Config
) -> None:
    subjects = pair_subjects(pairs_in(phantoms.pairs), config.data, show_names=False)
    assert subjects[1] is subjects[1]
    copy = pickle.loads(pickle.dumps(subjects))
    np.testing.assert_array_equal(copy[1].scan, subjects[1].scan)
    assert len(copy[1:]) == 1
    scans = SubjectScans(subjects)
    array, mask = scans[1].load()
    np.testing.assert_array_equal(array, subjects[1].scan)
    slices = scans[1].slices("axial")
    assert slices.shape[1:] == (1, *array.shape[:2])
    assert len(slices) == mask.any(axis=(0, 1)).sum()


def test_candidates_are_what_compare_pairs_gives(
    phantoms: PhantomFolders, config: Config, style: CachedCollection, make_translator
) -> None:
    translator = make_translator(lambda x: -x)
    pairs = pairs_in(phantoms.pairs)[:1]
    learned = IntensityMap.read(np.cos(np.linspace(-4, 4, LEVELS)).tolist())
    references = fit_references(style, "axial", learned)
    (comparison,) = compare_pairs(translator, pairs, config, references, grids=("network",))
    candidates = make_candidates(translator, style_intensities(style, "axial"), {}, learned)
    assert list(candidates) == list(comparison.candidates)
    for name, candidate in candidates.items():
        ours = candidate(comparison.scan, comparison.mask)
        # The body is found in values that the scale has clipped: its rim may differ.
        same = np.isclose(ours, comparison.candidates[name], atol=0.02)
        assert same.mean() > 0.97, name


def test_a_candidate_is_computed_once_and_cannot_be_spoilt() -> None:
    calls = []

    def candidate(scan, mask):
        calls.append(1)
        return scan

    remembering = Remembering(candidate)
    scan, mask = np.zeros((4, 4, 4), np.float32), np.ones((4, 4, 4), bool)
    first = remembering(scan, mask)
    with pytest.raises(ValueError, match="read-only"):
        first[0] = 1
    scan[0] = 1  # what was given may change
    assert first.max() == 0
    assert remembering(scan, mask).max() == 1
    assert remembering(scan.copy(), mask).max() == 1
    assert len(calls) == 2


def test_references_are_fitted_to_the_collection_given_or_of_the_run_or_the_truth(
    phantoms: PhantomFolders, config: Config, style: CachedCollection
) -> None:
    nothing, run = RunRecord(None, (), {}), RunRecord(str(phantoms.style), (), {})
    gone = RunRecord("/no/such/folder", (), {})
    expected = style_intensities(style, "axial").quantiles
    for record, given in ((nothing, str(phantoms.style)), (run, None), (gone, str(phantoms.style))):
        material = gather(config, record, phantoms.pairs, None, given)
        np.testing.assert_array_equal(material.intensities.quantiles, expected)
        assert [v.subject for v in material.style] == ["style subject 1", "style subject 2"]
    material = gather(config, gone, phantoms.pairs, None, None)
    assert any("favours the references" in note for note in material.notes)
    assert len(material.style) == 2
    with pytest.raises(UserError, match="--style"):
        gather(config, nothing, None, str(phantoms.scans), None)


@pytest.mark.parametrize("both", [False, True])
def test_pairs_or_scans(phantoms: PhantomFolders, config: Config, both: bool) -> None:
    given = (phantoms.pairs, str(phantoms.scans)) if both else (None, None)
    with pytest.raises(UserError, match="--pairs DIR, or --scans"):
        gather(config, RunRecord(None, (), {}), *given, str(phantoms.style))


def test_made_masks_are_told(pair_folder: Path, phantoms: PhantomFolders, config: Config) -> None:
    (pair_folder / "sub-201" / "mask.nii.gz").unlink()
    run = RunRecord(str(phantoms.style), (), {})
    material = gather(config, run, pair_folder, None, None)
    assert any(note.startswith("1 of 2 subjects bring no mask") for note in material.notes)
