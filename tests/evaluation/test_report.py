from __future__ import annotations

import base64
import csv
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medstyle_gan.errors import UserError
from medstyle_gan.evaluation.evaluating import Evaluation
from medstyle_gan.evaluation.report import refuse_existing, write_report
from medstyle_gan.evaluation.report.plots import _heading, _limits, _tick_labels, _ticks
from medstyle_gan.evaluation.thresholds import Thresholds, read_thresholds
from tests.evaluation.made_evaluation import made_evaluation

VOID = {"meta", "input", "img", "link", "br", "hr"}


class Page(HTMLParser):
    """What is in a page; refuses tags that do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]


@pytest.fixture(scope="module")
def thresholds() -> Thresholds:
    return read_thresholds()


@pytest.fixture(scope="module")
def evaluation(thresholds: Thresholds) -> Evaluation:
    return made_evaluation(thresholds)


@pytest.fixture(scope="module")
def folder(evaluation: Evaluation, thresholds: Thresholds, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("report") / "report"
    write_report(folder, [evaluation], thresholds)
    return folder


@pytest.fixture(scope="module")
def page(folder: Path) -> Page:
    return Page((folder / "report.html").read_text("utf-8"))


def test_the_page_needs_nothing_else(page: Page, folder: Path) -> None:
    for tag in ("link", "iframe", "object", "embed", "audio", "video", "source", "base"):
        assert not page.all(tag)
    assert all("src" not in attrs for attrs in page.all("script"))
    sources = [attrs["src"] for attrs in page.all("img")]
    assert sources
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert all(attrs["href"].startswith("#") for attrs in page.all("a"))
    text = (folder / "report.html").read_text("utf-8")
    assert not re.findall(r"https?://|@import|url\((?!#)", text)
    (policy,) = [a for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy["content"].startswith("default-src 'none'")


def test_what_can_be_seen_is_also_told(page: Page) -> None:
    assert all(attrs["alt"] for attrs in page.all("img"))
    plots = [attrs for attrs in page.all("svg") if attrs.get("role") == "img"]
    assert plots
    assert all("Means: translation" in attrs["aria-label"] for attrs in plots)
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    for attrs in page.all("a"):
        assert attrs["href"][1:] in ids


def test_texts_of_chapters_are_no_markup(folder: Path) -> None:
    text = (folder / "report.html").read_text("utf-8")
    assert "A note with &lt;b&gt;markup&lt;/b&gt;." in text
    assert "A &lt;caption&gt;." in text


def test_the_verdict_comes_first(folder: Path) -> None:
    text = (folder / "report.html").read_text("utf-8")
    body = text[text.index("<body>") :]
    assert body.index("Verdict") < body.index("Look at it") < body.index('id="fidelity"')
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text


def test_images_are_the_slices(page: Page, evaluation: Evaluation) -> None:
    view = evaluation.views[0].views[0]
    (first, *_) = [a for a in page.all("img") if a["alt"].startswith("scan of subject 0")]
    image = Image.open(io.BytesIO(base64.b64decode(first["src"].partition(",")[2])))
    expected = (np.clip(view.images["scan"], -1, 1) + 1) * 127.5
    np.testing.assert_allclose(np.asarray(image), expected, atol=0.51)


def test_json_holds_every_figure(folder: Path, evaluation: Evaluation) -> None:
    content = json.loads((folder / "report.json").read_text("utf-8"))
    assert list(content) == ["verdict", "chapters", "references", "provenance"]
    assert content["verdict"]["overall"] == evaluation.verdict
    for chapter in evaluation.chapters:
        found = content["chapters"][chapter.name]
        assert len(found["figures"]) == len(chapter.figures)
    values = {f["name"]: f["value"] for f in content["chapters"]["efficiency"]["figures"]}
    assert values == {"seconds": 1.5, "peak_memory": None, "parameters": 12}
    of_true = [
        entry
        for entry in content["chapters"]["fidelity"]["figures"]
        if entry["candidate"] == "translation" and entry["name"] == "psnr" and not entry["of"]
    ]
    assert {entry["value"] for entry in of_true} == {"inf"}  # it is the truth
    summary = content["chapters"]["fidelity"]["summary"]
    assert all(entry["interval"] is None for entry in summary)  # of two subjects


def test_csv_holds_a_line_a_figure(folder: Path, evaluation: Evaluation) -> None:
    rows = list(csv.DictReader(io.StringIO((folder / "subjects.csv").read_text("utf-8"))))
    assert len(rows) == sum(len(chapter.figures) for chapter in evaluation.chapters)
    assert float(rows[0]["value"]) == evaluation.chapters[0].figures[0].value
    assert {row["subject"] for row in rows} == {"subject 0", "subject 1", ""}


def test_several_models_are_compared(
    thresholds: Thresholds, evaluation: Evaluation, tmp_path: Path
) -> None:
    other = made_evaluation(thresholds, "nothing", "model 2")
    from dataclasses import replace

    write_report(tmp_path / "out", [replace(evaluation, label="model 1"), other], thresholds)
    page = Page((tmp_path / "out" / "report.html").read_text("utf-8"))
    for attrs in page.all("a"):
        assert (tmp_path / "out" / attrs["href"]).is_file()
    content = json.loads((tmp_path / "out" / "report.json").read_text("utf-8"))
    assert list(content) == ["verdict", "chapters", "references", "provenance"]
    assert [e["model"] for e in content["verdict"]["ranking"]] == ["model 1", "model 2"]


def test_what_is_there_is_kept(
    evaluation: Evaluation, thresholds: Thresholds, tmp_path: Path
) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="exists already"):
        refuse_existing(tmp_path)
    with pytest.raises(UserError, match="exists already"):
        write_report(tmp_path, [evaluation], thresholds)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_report_that_fails_leaves_nothing(
    evaluation: Evaluation, thresholds: Thresholds, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr("medstyle_gan.evaluation.report.writing.report_page", lambda *a: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_report(tmp_path / "out", [evaluation], thresholds)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-3, 200), (1e-5, 3e-5), (9.7, 9.9)])
def test_ticks_are_few_and_inside(low: float, high: float) -> None:
    ticks = _ticks(low, high)
    assert 2 <= len(ticks) <= 8
    assert all(low <= tick <= high for tick in ticks)


@pytest.mark.parametrize(
    "values", [[0.0] * 3, [1.0, 1.0], [0.0085, 0.0197], [-0.05, 0.04], [8, 950]]
)
def test_ticks_have_labels_that_tell_them_apart(values: list[float]) -> None:
    ticks = _ticks(*_limits(values))
    labels = _tick_labels(ticks)
    assert len(set(labels)) == len(ticks)
    read = [float(label.replace("\u2212", "-").replace(",", "")) for label in labels]
    assert read == pytest.approx(ticks, abs=1e-9)
    assert len({len(label.partition(".")[2]) for label in labels}) == 1


def test_a_long_heading_is_broken_before_what_is_better() -> None:
    assert _heading("PSNR (dB)", ", higher is better") == ["PSNR (dB), higher is better"]
    *name, better = _heading("sliced Wasserstein distance (× real)", ", lower is better")
    assert " ".join(name) == "sliced Wasserstein distance (× real)"
    assert better == "lower is better"
