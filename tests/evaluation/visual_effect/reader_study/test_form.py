from __future__ import annotations

import json
import shutil

import pytest

from medstyle_gan.evaluation.visual_effect.reader_study import (
    read_reader_study,
    reader_figures,
    write_reader_study,
)
from tests.browser import Page
from tests.evaluation import looking_at_phantoms as phantoms


@pytest.fixture
def study(tmp_path):
    return write_reader_study(
        tmp_path / "study",
        4,
        [phantoms.subject(1)],
        lambda scan, mask: scan,
        [phantoms.real_volume(101)],
    )


def test_a_study_is_rated_by_keyboard_alone_and_read_back(study):
    kinds = {n: w["kind"] for n, w in json.loads(study.key.read_text())["images"].items()}
    with Page(study.form.as_uri()) as page:
        for key in "r7":
            page.press(key)
        page.press("Enter")
        order = page.evaluate("slices")
        assert page.evaluate("document.getElementById('slice').alt") == "Slice 1 of 4"
        page.press("Enter")  # nothing is rated yet, so it stays
        assert page.evaluate("place") == 0
        for name in order:
            loaded = "document.getElementById('slice').decode().then(() => true)"
            assert page.evaluate(loaded)
            page.press("1")  # a slip, mended by the next
            page.press("r" if kinds[name] == "real" else "c")
            page.press("4")
            page.press("Enter")
        assert "4 of 4" in page.evaluate("document.getElementById('summary').textContent")
        page.press("Enter")  # the button to save has the focus
        saved = page.wait_for_download()
        assert saved.name == "ratings_r7.json"
        shutil.copy(saved, study.ratings)
        assert not page.errors
        asked = [url for url in page.requests if not url.startswith(("data:", "blob:"))]
        assert all(url.startswith("file://") for url in asked)
        assert sum(url.endswith(".png") for url in asked) == 4
    figures, _ = reader_figures(read_reader_study(study.root))
    assert {f.name: f.value for f in figures} == {
        "reader_accuracy": 1.0,
        "reader_p": pytest.approx(0.125),
        "reader_quality": 4.0,
    }
