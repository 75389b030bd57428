"""The whole chapter on bad translators: each is caught by the figure that is meant for it."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import distance_transform_edt, median_filter

from medstyle_gan.config import load_config
from medstyle_gan.evaluation.context import EvaluationContext, RealVolume
from medstyle_gan.evaluation.hallucination import run
from medstyle_gan.evaluation.hallucination.blobs import ball, place
from medstyle_gan.evaluation.hallucination.sharing import all_findings
from medstyle_gan.evaluation.hallucination.subject_findings import Settings
from tests.evaluation.hallucination.conftest import phantom_subject


def volume(name: str, subject, truth: bool) -> RealVolume:
    array = subject.truth if truth else subject.scan
    return RealVolume(name, subject.spacing, lambda: (array, subject.mask))


@pytest.fixture(scope="module")
def context(subjects, ill_subject) -> EvaluationContext:
    style = [volume(f"style {i}", s, True) for i, s in enumerate([*subjects, ill_subject])]
    return EvaluationContext(
        load_config(),
        style=style,
        scans=[volume(s.name, s, False) for s in subjects],
        training_style=[style[2], volume("other", phantom_subject(8), True)],
        quick=True,
    )


@pytest.fixture(scope="module")
def candidates(subjects, ill_subject, true_mapping):
    def erase(scan, mask):
        return np.minimum(true_mapping(scan, mask), median_filter(true_mapping(scan, mask), 3))

    def paint(scan, mask):
        translation = true_mapping(scan, mask)
        spacing = subjects[0].spacing
        deep = np.flatnonzero(distance_transform_edt(mask, sampling=spacing) > 12)
        for index in np.random.default_rng(0).choice(deep, 3, replace=False):
            center = tuple(int(c) for c in np.unravel_index(index, mask.shape))
            box, share = place(ball(10.0, spacing), center, mask.shape)
            translation[box] += 1.2 * share
        return translation.clip(-1, 1)

    return {
        "translation": true_mapping,
        "doing_nothing": lambda scan, mask: scan,
        "erases": erase,
        "paints": paint,
        "copies": lambda scan, mask: ill_subject.truth,
    }


@pytest.fixture(scope="module")
def chapter(subjects, candidates, context):
    return run(subjects, candidates, context, segmenter=lambda a, s: (a > 0.3).astype(np.int32))


def mean(chapter, name: str, candidate: str) -> float:
    found = [
        f.value
        for f in chapter.figures
        if f.name == name and f.candidate == candidate and f.subject is not None
    ]
    assert found
    return float(np.mean(found))


@pytest.mark.parametrize("candidate", ["translation", "doing_nothing"])
def test_the_true_mapping_and_doing_nothing_keep_lesions_and_invent_none(
    chapter, candidate
) -> None:
    assert mean(chapter, "lesion_recall", candidate) >= 0.7
    assert mean(chapter, "worst_kind_recall", candidate) >= 0.5
    assert mean(chapter, "removal_recall", candidate) >= 0.7
    assert mean(chapter, "false_lesions", candidate) <= 0.5
    assert mean(chapter, "copied_share", candidate) == 0


def test_one_that_erases_small_bright_spots_is_caught_by_recall(chapter) -> None:
    assert mean(chapter, "worst_kind_recall", "erases") <= 0.3


def test_one_that_paints_lesions_is_caught_by_false_lesions(chapter) -> None:
    assert mean(chapter, "false_lesions", "paints") >= 2
    assert (
        mean(chapter, "false_lesions", "paints")
        >= mean(chapter, "false_lesions", "translation") + 2
    )


def test_one_that_copies_is_caught_by_copies_and_by_recall(chapter) -> None:
    assert mean(chapter, "copied_share", "copies") == 1
    assert mean(chapter, "lesion_recall", "copies") == 0
    assert mean(chapter, "removal_recall", "copies") == 0


def test_the_site_is_told_where_nothing_is_done_and_subjects_agree_where_mapped(chapter) -> None:
    collection = {
        (f.name, f.candidate): f.value for f in chapter.figures if f.subject is None and not f.of
    }
    assert collection["site_accuracy", "doing_nothing"] > 0.9
    assert (
        collection["travelling_agreement", "translation"]
        > collection["travelling_agreement", "doing_nothing"]
    )


def test_the_task_is_told_of_every_label_and_candidate(chapter, subjects, candidates) -> None:
    for name in candidates:
        labels = {
            f.of["label"]
            for f in chapter.figures
            if f.name == "task_dice" and f.candidate == name and f.subject == subjects[0].name
        }
        assert labels == {str(n) for n in np.unique(subjects[0].labels) if n}


def test_figures_are_unique_and_of_the_same_kinds_for_all(chapter, candidates) -> None:
    keys = [(f.name, f.candidate, f.subject, *sorted(f.of.items())) for f in chapter.figures]
    assert len(set(keys)) == len(keys)
    by_candidate = [{(k[0], *k[2:]) for k in keys if k[1] == candidate} for candidate in candidates]
    assert all(own == by_candidate[0] for own in by_candidate)
    sizes = {f.of["size_mm"] for f in chapter.figures if "size_mm" in f.of}
    assert sizes == {4.0, 6.0, 8.0, 12.0}
    assert any("2, 3 mm are too small" in note for note in chapter.notes)


def test_pictures_are_pngs_with_words(chapter) -> None:
    assert {"lesion_recall_by_size", "inserted_lesions"} <= {p.name for p in chapter.pictures}
    for picture in chapter.pictures:
        with Image.open(io.BytesIO(picture.png)) as image:
            assert image.format == "PNG"
            assert min(image.size) > 100
        assert picture.alt
        assert picture.caption


def test_marked_lesions_are_compared_before_and_after(ill_subject, context) -> None:
    flat = np.full_like(ill_subject.scan, 0.1)
    found = run(
        [ill_subject],
        {"translation": lambda scan, mask: -scan, "flat": lambda scan, mask: flat},
        context,
        segmenter=lambda array, spacing: ill_subject.labels,
    )
    values = {(f.name, f.candidate): f.value for f in found.figures if not f.of}
    before = values["given_lesion_cnr_before", "translation"]
    assert before > 0.5
    assert values["given_lesion_cnr", "translation"] == pytest.approx(before, rel=1e-4)
    assert values["given_lesion_cnr", "flat"] == pytest.approx(0, abs=1e-5)
    assert values["given_lesion_recall", "flat"] == 0
    assert values["segmenter_lesion_recall", "flat"] == 1
    assert values["segmenter_false_lesions", "flat"] == 0
    assert any("lesions that were marked" in note for note in found.notes)


def test_the_segmenter_of_the_context_is_used_and_said_to_be(ill_subject, context) -> None:
    task = replace(context, segmenter=lambda array, spacing: ill_subject.labels)
    found = run([ill_subject], {"translation": lambda scan, mask: -scan}, task)
    assert "task_dice" in {f.name for f in found.figures}
    assert any("frozen segmenter saw" in note for note in found.notes)


def test_without_collections_their_figures_are_left_out_and_said_so(subjects) -> None:
    bare = EvaluationContext(load_config(), quick=True)
    found = run(subjects[:1], {"translation": lambda scan, mask: scan}, bare)
    assert not {"site_accuracy", "copied_share"} & {f.name for f in found.figures}
    assert any("not at hand" in note for note in found.notes)


def test_processes_find_what_one_finds(subjects, true_mapping) -> None:
    settings = [Settings(seed, 1, None, False, None, None) for seed in (0, 1)]
    given = (subjects, {"translation": true_mapping}, settings)
    alone, shared = all_findings(*given), all_findings(*given, workers=2, start="fork")
    for one, other in zip(alone, shared, strict=True):
        assert one.candidates["translation"] == other.candidates["translation"]
