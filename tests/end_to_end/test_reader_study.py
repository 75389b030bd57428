"""A reader study from `medstyle evaluate` to readers and back into the next report."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from scipy.stats import binomtest

from medstyle_gan.cli import main
from medstyle_gan.data.phantom import PhantomFolders

COUNT = 9
CANARY = "Canary^Patient"


@pytest.fixture(scope="module")
def scans(phantoms: PhantomFolders, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scans") / CANARY
    folder.mkdir()
    for number, path in enumerate(sorted(phantoms.scans.iterdir())):
        shutil.copy(path, folder / f"{CANARY}-{number}.nii.gz")
    return folder


def options(scans: Path, phantoms: PhantomFolders, out: Path, *more: object) -> list[str]:
    given = ["--scans", scans, "--style", phantoms.style, "-o", out, "--quick", *more]
    return list(map(str, given))


@pytest.fixture(scope="module")
def study(
    trained: Path, phantoms: PhantomFolders, scans: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    out = tmp_path_factory.mktemp("studied") / "report"
    asked = ["--reader-study", COUNT, "--chapters", "efficiency"]
    assert main(["evaluate", str(trained), *options(scans, phantoms, out, *asked)]) == 0
    assert {path.name for path in out.iterdir()} == {
        *("report.html", "report.json", "subjects.csv", "reader_study"),
    }
    return out / "reader_study"


def rate(study: Path, reader: str, wrong: int) -> None:
    """A reader who mistakes the first `wrong` slices."""
    key = json.loads((study / "key" / "key.json").read_text())
    other = {"real": "translated", "translated": "real"}
    ratings = [
        {
            "image": name,
            "said": other[of["kind"]] if n < wrong else of["kind"],
            "quality": 1 + n % 5,
        }
        for n, (name, of) in enumerate(sorted(key["images"].items()))
    ]
    content = {"format": 1, "study": key["study"], "reader": reader, "ratings": ratings}
    (study / "ratings" / f"{reader}.json").write_text(json.dumps(content))


@pytest.fixture
def own_study(study: Path, tmp_path: Path) -> Path:
    """A copy that a test may fill in."""
    return Path(shutil.copytree(study, tmp_path / "study"))


def test_readers_get_slices_and_a_form_and_no_name(study: Path) -> None:
    slices = list((study / "for_readers" / "images").iterdir())
    assert len(slices) == COUNT
    key = json.loads((study / "key" / "key.json").read_text())
    report = json.loads((study.parent / "report.json").read_text("utf-8"))
    assert key["model_hash"] == report["provenance"]["model_hash"]
    assert not any((study / "ratings").iterdir())
    for path in study.rglob("*"):
        assert "Canary" not in path.name
        if path.is_file():
            assert b"Canary" not in path.read_bytes(), path


def test_ratings_get_into_the_next_report(
    trained: Path, phantoms: PhantomFolders, scans: Path, own_study: Path, tmp_path: Path
) -> None:
    rate(own_study, "annabella", 0)
    rate(own_study, "benjamin", 4)
    out = tmp_path / "report"
    asked = ["--ratings", own_study, "--chapters", "visual_effect"]
    assert main(["evaluate", str(trained), *options(scans, phantoms, out, *asked)]) == 0
    chapter = json.loads((out / "report.json").read_text("utf-8"))["chapters"]["visual_effect"]
    figures = {
        (f["name"], *f["of"].values()): f["value"]
        for f in chapter["figures"]
        if f["name"].startswith("reader_")
    }
    assert figures[("reader_accuracy", "1")] == 1
    assert figures[("reader_accuracy", "2")] == pytest.approx((COUNT - 4) / COUNT)
    assert figures[("reader_p", "2")] == pytest.approx(binomtest(COUNT - 4, COUNT, 0.5).pvalue)
    # They agree on five of nine, and on every quality.
    assert figures[("reader_agreement", "quality")] == pytest.approx(1)
    assert figures[("reader_agreement", "kind")] < 0.5
    assert f"Reader 1 told {COUNT} of {COUNT} slices rightly" in " ".join(chapter["notes"])
    page = (out / "report.html").read_text("utf-8")
    assert "reader accuracy (reader all)" in page
    # Long names: pictures are in the page as letters, among which short ones come by chance.
    for reader in ("annabella", "benjamin"):
        assert reader not in page


def test_a_study_of_another_model_is_refused(
    trained: Path, phantoms: PhantomFolders, scans: Path, own_study: Path, refused, tmp_path: Path
) -> None:
    key = own_study / "key" / "key.json"
    key.write_text(json.dumps(json.loads(key.read_text()) | {"model_hash": "0123456789abcdef"}))
    asked = ["--ratings", own_study]
    told = refused("evaluate", trained, *options(scans, phantoms, tmp_path / "report", *asked))
    assert "is of another model (weights 0123456789ab" in told


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (["--reader-study", "2"], "at least 4"),
        (["--reader-study", "-1"], "--reader-study -1"),
        (["--reader-study", "4000"], "ask for fewer"),
        (["--ratings", "nowhere"], "nowhere: holds no key/key.json"),
        (["--inception", "w.pth", "--chapters", "fidelity"], "add it to --chapters"),
        (["--inception", "nowhere.pth"], "nowhere.pth: there is no such file"),
        (["vgg.weights=nowhere.pth"], "nowhere.pth"),
    ],
)
def test_mistakes_are_told_before_the_work(
    trained: Path,
    phantoms: PhantomFolders,
    scans: Path,
    refused,
    tmp_path: Path,
    asked: list[str],
    told: str,
) -> None:
    arguments = options(scans, phantoms, tmp_path / "report", *asked)
    assert told in refused("evaluate", trained, *arguments)


def test_the_truth_cannot_stand_for_real_slices(
    trained: Path, phantoms: PhantomFolders, refused, tmp_path: Path
) -> None:
    bundle = shutil.copytree(trained / "model", tmp_path / "bundle")  # knows no style collection
    arguments = ["--pairs", phantoms.pairs, "-o", tmp_path / "report", "--reader-study", "4"]
    assert "give --style B/" in refused("evaluate", bundle, *arguments)
