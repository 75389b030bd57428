from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest

from medstyle_gan.errors import UserError
from medstyle_gan.evaluation.visual_effect.reader_study import (
    agreement,
    read_reader_study,
    reader_figures,
)
from medstyle_gan.evaluation.visual_effect.reader_study.files import StudyFiles

KINDS = {f"{i:08x}": "real" if i % 2 else "translated" for i in range(10)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    study = StudyFiles(tmp_path)
    study.key.parent.mkdir()
    study.ratings.mkdir()
    images = {name: {"kind": kind, "of": "x", "slice": 0} for name, kind in KINDS.items()}
    key = {"format": 1, "study": "abc", "model_hash": "weights", "images": images}
    study.key.write_text(json.dumps(key))
    return tmp_path


def rate(folder: Path, code: str, wrong: int = 0, count: int = 10, **changes) -> Path:
    """A reader who mistakes the first `wrong` slices; quality 5 for real, 3 for the rest."""
    other = {"real": "translated", "translated": "real"}
    ratings = [
        {
            "image": name,
            "said": other[kind] if place < wrong else kind,
            "quality": 5 if kind == "real" else 3,
            "seconds": 1.5,
        }
        for place, (name, kind) in enumerate(KINDS.items())
    ]
    content = {"format": 1, "study": "abc", "reader": code, "ratings": ratings[:count]} | changes
    path = folder / "ratings" / f"{code}.json"
    path.write_text(json.dumps(content))
    return path


def figure(figures, name: str, **of: str) -> float:
    (value,) = [f.value for f in figures if f.name == name and dict(f.of) == of]
    return value


@pytest.mark.parametrize("wrong", [0, 3, 5, 10])
def test_accuracy_is_tested_against_chance(folder, wrong: int):
    rate(folder, "secret-code", wrong)
    figures, notes = reader_figures(read_reader_study(folder))
    assert figure(figures, "reader_accuracy", reader="1") == 1 - wrong / 10
    expected = binomtest(wrong, 10, 0.5).pvalue
    assert figure(figures, "reader_p", reader="1") == pytest.approx(expected)
    assert figure(figures, "reader_quality", reader="1", slices="real") == 5
    assert figure(figures, "reader_quality", reader="1", slices="translated") == 3
    assert "secret-code" not in "".join(notes)
    assert f"{10 - wrong} of 10" in notes[0]


def test_slices_left_out_are_said_and_not_counted(folder):
    path = rate(folder, "a", 0, count=7)
    content = json.loads(path.read_text())
    content["ratings"][6].pop("quality")  # begun only
    path.write_text(json.dumps(content))
    figures, notes = reader_figures(read_reader_study(folder))
    assert figure(figures, "reader_accuracy", reader="1") == 1
    assert "6 of 6" in notes[0]
    assert "4 were left out" in notes[0]


def test_readers_agree_over_the_slices_that_all_rated(folder):
    rate(folder, "a", 0)
    rate(folder, "b", 2, count=8)
    figures, notes = reader_figures(read_reader_study(folder))
    assert figure(figures, "reader_accuracy", reader="all") == pytest.approx((1 + 0.75) / 2)
    # By hand: 6 of 8 agree, both say real 4 times of 8, so 0.5 by chance.
    assert figure(figures, "reader_agreement", on="kind") == pytest.approx((0.75 - 0.5) / 0.5)
    assert figure(figures, "reader_agreement", on="quality") == pytest.approx(1)
    assert any("Cohen" in note and "8 slices" in note for note in notes)


def test_no_ratings_yet_is_no_mistake(folder):
    figures, notes = reader_figures(read_reader_study(folder))
    assert not figures
    assert "no ratings yet" in notes[0]


# Fleiss 1971, table 1 as it is reproduced in textbooks: 14 raters, 10 cases, 5 categories.
FLEISS = [
    *([0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1]),
    *([7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7]),
]


def test_agreement_of_many_is_fleiss_kappa():
    cases = [np.repeat(np.arange(5), counts) for counts in FLEISS]
    assert agreement(np.stack(cases, axis=1), 5) == pytest.approx(0.210, abs=5e-4)


def test_agreement_of_two_weighs_how_far_answers_are_apart():
    one, near, far = [0, 1, 2, 3, 4], [1, 1, 2, 3, 4], [4, 1, 2, 3, 4]
    assert agreement([one, near], 5) == pytest.approx(agreement([one, far], 5), abs=0.03)
    assert agreement([one, near], 5, ordered=True) > 0.9 > agreement([one, far], 5, ordered=True)


@pytest.mark.parametrize("answers", [[[1, 1], [1, 1]], [[], []], [[1, 0]]])
def test_nothing_to_agree_on_is_no_agreement(answers):
    assert np.isnan(agreement(answers, 2))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"study": "xyz"}, "rates another study"),
        ({"format": 2}, "format 1"),
        ({"ratings": None}, "has no ratings"),
        ({"reader": 5}, "has no reader"),
        ({"ratings": [{"image": "ffff", "said": "real", "quality": 1}]}, "no slice of this study"),
        ({"ratings": [{"image": "00000001", "said": "maybe", "quality": 1}]}, "says 'maybe'"),
        ({"ratings": [{"image": "00000001", "said": "real", "quality": 6}]}, "quality 6"),
        ({"ratings": [{"image": "00000001", "said": "real", "quality": True}]}, "quality True"),
        (
            {"ratings": [{"image": "00000001", "said": "real", "quality": 1}] * 2},
            "there twice",
        ),
    ],
)
def test_ratings_that_cannot_be_are_told(folder, changes, said: str):
    path = rate(folder, "a", **changes)
    with pytest.raises(UserError, match=said) as told:
        read_reader_study(folder)
    assert str(path) in str(told.value)


def test_two_files_of_a_reader_are_told(folder):
    rate(folder, "a")
    rate(folder, "b", reader="a")
    with pytest.raises(UserError, match=r"same reader as a\.json"):
        read_reader_study(folder)


@pytest.mark.parametrize("content", ["", "[]", "{", "\udcff"])
def test_files_that_are_no_ratings_are_told(folder, content: str):
    (folder / "ratings" / "a.json").write_text(content, errors="surrogateescape")
    with pytest.raises(UserError, match=r"a\.json"):
        read_reader_study(folder)


def test_a_folder_that_is_no_study_is_told(tmp_path):
    with pytest.raises(UserError, match=r"key/key\.json"):
        read_reader_study(tmp_path)
