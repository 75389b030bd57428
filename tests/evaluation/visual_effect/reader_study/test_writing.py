from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medstyle_gan.errors import UserError
from medstyle_gan.evaluation.visual_effect.reader_study import StudyFiles, write_reader_study
from tests.evaluation import looking_at_phantoms as phantoms

COUNT = 13


def write(folder: Path, count: int = COUNT, seed: int = 0) -> StudyFiles:
    return write_reader_study(
        folder,
        count,
        [phantoms.subject(1), phantoms.subject(2)],
        lambda scan, mask: -scan,
        [phantoms.real_volume(101), phantoms.real_volume(102), phantoms.real_volume(103)],
        seed=seed,
    )


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> StudyFiles:
    return write(tmp_path_factory.mktemp("reader") / "study")


def key(study: StudyFiles) -> dict[str, dict]:
    return json.loads(study.key.read_text())["images"]


def test_half_of_the_slices_are_real_and_none_is_there_twice(study):
    slices = [tuple(what.values()) for what in key(study).values()]
    assert len(slices) == len(set(slices)) == COUNT
    real = sum(kind == "real" for kind, *_ in slices)
    assert real in (COUNT // 2, COUNT - COUNT // 2)
    assert {of for kind, of, _ in slices if kind == "translated"} == {"subject 1", "subject 2"}
    assert len({of for kind, of, _ in slices if kind == "real"}) == 3


def test_what_readers_get_says_nothing(study):
    names = [path.name for path in sorted(study.images.iterdir())]
    assert all(re.fullmatch(r"[0-9a-f]{8}\.png", name) for name in names)
    shown = "".join(
        path.read_text()
        for path in study.for_readers.rglob("*")
        if path.suffix in (".txt", ".html")
    )
    assert not re.search(r"subject \d|style subject|\bkind\b", shown)
    files = [path.stat() for path in study.images.iterdir()]
    assert len({file.st_mtime for file in files}) == 1
    pictures = [Image.open(path) for path in study.images.iterdir()]
    assert len({picture.size for picture in pictures}) == 1
    assert all(not picture.info and picture.mode == "L" for picture in pictures)
    # Neither the names' order nor the form's is that of the kinds.
    kinds = key(study)
    assert len({kinds[name[:-4]]["kind"] for name in names[: COUNT // 2]}) == 2
    form = json.loads(re.search(r"STUDY = (\{.*?\});", study.form.read_text()).group(1))
    assert sorted(form["images"]) == sorted(kinds)
    assert len({kinds[name]["kind"] for name in form["images"][: COUNT // 2]}) == 2


def test_the_key_tells_what_each_slice_is(study):
    name, what = next((n, w) for n, w in key(study).items() if w["kind"] == "translated")
    subject = next(s for s in map(phantoms.subject, (1, 2)) if s.name == what["of"])
    position = what["slice"]
    shown = np.asarray(Image.open(study.images / f"{name}.png")) / 255 * 2 - 1
    expected = np.where(subject.mask, -subject.scan, -1)[:, :, position]
    body = expected[subject.mask.any(axis=(1, 2))][:, subject.mask.any(axis=(0, 2))]
    assert np.sort(shown[shown > -1]) == pytest.approx(
        np.sort(np.rot90(body)[np.rot90(body) > -1 + 1 / 255]), abs=1 / 127
    )


def test_the_form_asks_for_nothing_from_elsewhere(study):
    html = study.form.read_text()
    assert not re.search(r"https?://|//\w+\.\w|@import|url\(", html)
    assert "default-src 'none'" in html
    assert "{{" not in html


def test_the_same_seed_writes_the_same_study(study, tmp_path):
    again = write(tmp_path / "again")
    assert again.key.read_text() == study.key.read_text()
    assert again.form.read_text() == study.form.read_text()
    other = write(tmp_path / "other", seed=1)
    assert other.key.read_text() != study.key.read_text()


def test_slices_of_other_pixel_sizes_come_out_equally_large(tmp_path):
    subject = phantoms.subject(1)
    half = type(subject)(
        "half", subject.scan[::2, ::2], subject.mask[::2, ::2], True, (6.4, 6.4, 3.0)
    )
    study = write_reader_study(
        tmp_path / "study", 8, [half], lambda scan, mask: scan, [phantoms.real_volume(101)]
    )
    widths = {"real": [], "translated": []}
    for name, what in key(study).items():
        shown = np.asarray(Image.open(study.images / f"{name}.png"))
        widths[what["kind"]].append(np.flatnonzero(shown.any(axis=0)).size)
    assert np.median(widths["translated"]) == pytest.approx(np.median(widths["real"]), rel=0.2)


@pytest.mark.parametrize(("count", "said"), [(3, "at least 4"), (1000, "ask for fewer")])
def test_counts_that_cannot_be_are_refused(tmp_path, count: int, said: str):
    with pytest.raises(UserError, match=said):
        write(tmp_path / "study", count)
    assert not (tmp_path / "study").exists()


def test_a_study_is_never_written_over(study):
    with pytest.raises(UserError, match="exists already"):
        write(study.root)


def test_without_real_volumes_there_is_no_study(tmp_path):
    with pytest.raises(UserError, match="--style"):
        write_reader_study(
            tmp_path / "study", 8, [phantoms.subject(1)], lambda scan, mask: scan, []
        )
