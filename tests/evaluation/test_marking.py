"""Translations in a report's pictures are marked as synthetic, and nothing else is."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from medstyle_gan.evaluation.chapter import TRANSLATION, Picture, Subject
from medstyle_gan.evaluation.hallucination.pictures import draw_pictures
from medstyle_gan.evaluation.hallucination.subject_findings import (
    Settings,
    SubjectFindings,
    subject_findings,
)
from medstyle_gan.evaluation.interpretability.plots import attribution_maps, difference_maps
from medstyle_gan.evaluation.interpretability.region import region_at
from medstyle_gan.evaluation.marking import marked_slice
from medstyle_gan.evaluation.report import views_montage
from medstyle_gan.evaluation.report.images import view_figures
from medstyle_gan.evaluation.report.page import report_page
from medstyle_gan.evaluation.robustness import pictures
from medstyle_gan.evaluation.robustness.corruptions import CORRUPTIONS
from medstyle_gan.evaluation.robustness.pictures import corrupted_montage
from medstyle_gan.evaluation.thresholds import read_thresholds
from medstyle_gan.evaluation.viewing import volumes_within
from medstyle_gan.evaluation.views import view_subject
from medstyle_gan.evaluation.visual_effect.plots import slices_side_by_side
from tests.evaluation.made_evaluation import made_evaluation
from tests.evaluation.phantom_subjects import all_candidates, phantom_subject

Made = Callable[[bool], np.ndarray]


@pytest.fixture(scope="module")
def subject() -> Subject:
    return phantom_subject(0, (48, 40, 8))


@pytest.mark.parametrize(
    ("shape", "aspect"),
    [((24, 24), 1.0), ((8, 64), 3.0), ((300, 200), 1.0), ((60, 512), 2.5), ((64, 24), 0.5)],
)
def test_letters_are_large_enough_where_they_are_looked_at(
    shape: tuple[int, int], aspect: float
) -> None:
    image = np.full(shape, 0.2, np.float32)
    shown = 220
    marked = marked_slice(image, aspect, shown)
    height, width = shape[0] * max(1, aspect), shape[1] * max(1, 1 / aspect)
    assert marked.shape[0] / marked.shape[1] == pytest.approx(height / width, rel=0.02)
    rows, columns = np.nonzero(marked != np.float32(0.2))
    assert rows.size
    scale = shown / max(marked.shape)
    assert (np.ptp(rows) + 1) * scale >= 5
    assert 25 < (np.ptp(columns) + 1) * scale < 90
    assert (marked != np.float32(0.2)).mean() < 0.2


def pixels(picture: Picture | Image.Image) -> np.ndarray:
    image = picture if isinstance(picture, Image.Image) else Image.open(io.BytesIO(picture.png))
    return np.asarray(image.convert("L")).astype(int)


def findings_of(subject: Subject) -> SubjectFindings:
    settings = Settings(
        seed=0, rounds=1, unit=None, looks=False, segmenter=None, style_scale=None, shown=True
    )
    return subject_findings(subject, all_candidates("true", [subject]), settings)


def made_pictures(subject: Subject) -> dict[str, tuple[Made, set[int], int]]:
    """Name → the picture with and without mark, its marked columns, and how many there are."""
    candidates = all_candidates("true", [subject])
    translate = candidates[TRANSLATION]
    translation = translate(subject.scan, subject.mask)
    views = view_subject(subject, candidates)
    region = region_at((24, 20, 4), subject.scan.shape, "axial")
    maps = {"occlusion": (np.ones((48, 40), np.float32), 3.0)}
    looks = [("translation", [subject.scan[:, :, 4]]), ("real", [subject.scan[:, :, 4]])]

    def inserted(mark: bool) -> np.ndarray:
        drawn = draw_pictures(subject, findings_of(subject), (), mark)
        return pixels(next(p for p in drawn if p.name == "inserted_lesions"))

    return {
        "montage": (lambda mark: pixels(views_montage(views, mark)), {1}, 4),
        "inserted": (inserted, {1, 2}, 4),
        "differences": (
            lambda mark: pixels(difference_maps(subject, translation, "axial", None, mark)),
            {1},
            6,  # five, and the colour bar
        ),
        "attribution": (
            lambda mark: pixels(
                attribution_maps(subject, translation, region, "axial", maps, mark)
            ),
            {1},
            3,
        ),
        "side by side": (
            lambda mark: pixels(slices_side_by_side(looks, 1.0, {"translation"} if mark else ())),
            {0},
            2,
        ),
    }


@pytest.mark.parametrize(
    "name", ["montage", "inserted", "differences", "attribution", "side by side"]
)
def test_translations_alone_are_marked(subject: Subject, name: str) -> None:
    made, columns, count = made_pictures(subject)[name]
    marked, plain = made(True), made(False)
    assert marked.shape == plain.shape
    changed = np.abs(marked - plain) > 60
    assert changed.any()
    width = plain.shape[1] / count
    # The chart's margin moves columns by less than half of one.
    found = {int(x // width) for x in np.flatnonzero(changed.sum(axis=0) > 2)}
    assert found
    assert found <= columns | {column + 1 for column in columns}
    assert changed.mean() < 0.02


def test_columns_of_inserted_lesions_have_headings(subject: Subject) -> None:
    made, _, count = made_pictures(subject)["inserted"]
    assert all((part < 128).any() for part in np.array_split(made(True)[:18], count, axis=1))


def test_under_each_corruption_the_translation_is_marked(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "CORRUPTIONS", {"gain": CORRUPTIONS["gain"]})
    translate = all_candidates("true", [subject])[TRANSLATION]
    marked, plain = (
        pixels(corrupted_montage(subject, translate, 0, 1, mark)) for mark in (True, False)
    )
    changed = np.abs(marked - plain) > 60
    quarters = [part.any() for part in np.array_split(changed, 4)]
    assert quarters == [False, True, False, True]  # each scan above its translation


def test_the_page_marks_translations_in_pixels_and_in_the_viewer(subject: Subject) -> None:
    candidates = all_candidates("true", [subject])
    thresholds = read_thresholds()
    evaluation = replace(
        made_evaluation(thresholds, subjects=1),
        volumes=volumes_within([subject], candidates, 2**20),
    )
    for mark in (True, False):
        (row, *_) = view_figures(evaluation.views[0], mark).rows
        scan, translation, truth, difference = (
            np.asarray(
                Image.open(io.BytesIO(base64.b64decode(p.source.partition(",")[2]))).convert("L")
            )
            for p in row[1]
        )
        assert scan.shape == truth.shape == difference.shape == (48, 48)
        assert (translation.shape == (48, 48)) is not mark
        page = report_page(replace(evaluation, mark=mark), thresholds)
        assert ('id="viewer-mark" hidden>SYNTHETIC<' in page) is mark
        assert ('class="windowed marked"' in page) is mark
