"""`medstyle panel`: PNG, PDF and a page, as other programs open them."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from medstyle_gan.cli import main

CANARY = "Canary-Patient"
TITLE = "A <b>bold</b> & $x$ title"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp(CANARY)
    rng = np.random.default_rng(0)
    scan = rng.integers(60, 250, (40, 36, 5)).astype(np.int16)
    scan[:3] = scan[-3:] = 0
    labels = np.zeros(scan.shape, np.uint8)
    labels[8:20, 10:20, 1:4] = 1
    labels[25:30, 10:20, 2:4] = 2
    arrays = {"scan": scan, "stylised": 250 - scan, "labels": labels}
    for name, array in arrays.items():
        nib.save(nib.Nifti1Image(array, np.eye(4)), folder / f"{name}.nii.gz")
    return {name: str(folder / f"{name}.nii.gz") for name in arrays}


def command(files: dict[str, str], out: Path, *more: str) -> list[str]:
    given = ["--stylised", files["stylised"], "--labels", files["labels"], "-o", str(out)]
    settings = [f"panel.title={TITLE}", "panel.label_names={1: nucleus, 2: cortex}"]
    return ["panel", files["scan"], *given, *settings, *more]


@pytest.fixture(scope="module")
def out(files: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("out")
    assert main(command(files, folder)) == 0
    return folder


class Page(HTMLParser):
    """What a page holds and points to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.images: list[dict[str, str]] = []
        self.targets: list[str] = []
        self.tags: set[str] = set()
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        given = {name: value or "" for name, value in attrs}
        self.targets += [given[n] for n in ("src", "href", "srcset", "action") if n in given]
        if tag == "img":
            self.images.append(given)

    def handle_data(self, data: str) -> None:
        self.words += data


def test_a_folder_gets_all_formats_and_a_sidecar(out: Path) -> None:
    names = {"panel.html", "panel.json", "panel.pdf", "panel.png"}
    assert {path.name for path in out.iterdir()} == names
    facts = json.loads((out / "panel.json").read_text())
    assert facts["synthetic"] is True
    assert facts["marked"] is True
    assert facts["panel"]["slices"] == [1, 2, 3]
    for name in names:  # neither a path nor a patient's name
        assert CANARY.encode() not in (out / name).read_bytes()


def test_the_png_holds_each_images_pixels_and_says_that_it_is_synthetic(out: Path) -> None:
    page = Page((out / "panel.html").read_text())
    with Image.open(out / "panel.png") as picture:
        assert "not acquired" in picture.text["Synthetic"]  # type: ignore[attr-defined]
        panel = np.asarray(picture.convert("RGB"))
    data = base64.b64decode(page.images[-1]["src"].partition(",")[2])
    tile = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    rows, columns = tile.shape[:2]
    # The lower right image, found by its last row and column before the margin.
    found = [
        (y, x)
        for y in range(panel.shape[0] - rows)
        for x in (panel.shape[1] - columns - 14,)
        if (panel[y : y + rows, x : x + columns] == tile).all()
    ]
    assert len(found) == 1


@pytest.mark.skipif(shutil.which("pdftoppm") is None, reason="poppler-utils are not installed")
def test_the_pdf_opens_shows_the_panel_and_has_text(out: Path, tmp_path: Path) -> None:
    pdf = str(out / "panel.pdf")
    subprocess.run(["pdftoppm", "-r", "100", "-png", pdf, str(tmp_path / "p")], check=True)
    (page,) = tmp_path.glob("p*.png")
    shown = Image.open(page).convert("L")
    expected = Image.open(out / "panel.png").convert("L").resize(shown.size)
    difference = np.abs(np.asarray(shown, float) - np.asarray(expected, float))
    assert difference.mean() < 12
    text = subprocess.run(["pdftotext", pdf, "-"], capture_output=True, text=True, check=True)
    for words in (TITLE, "original", "nucleus", "slice 2", "not for diagnosis"):
        assert words in text.stdout
    about = subprocess.run(["pdfinfo", pdf], capture_output=True, text=True, check=True)
    assert re.search(r"Pages:\s+1\n", about.stdout)
    assert "not acquired" in about.stdout
    assert "CreationDate" not in about.stdout


def test_the_page_needs_nothing_from_outside_and_every_image_has_words(out: Path) -> None:
    text = (out / "panel.html").read_text()
    page = Page(text)
    assert len(page.images) == 9
    assert all(target.startswith("data:") for target in page.targets)
    assert not page.tags & {"script", "iframe", "object", "embed", "b"}
    assert not re.search(r"https?:|//[a-z]|@import|url\(", re.sub(r'"data:[^"]*"', "", text))
    assert all(image["alt"] for image in page.images)
    assert sum("synthetic" in image["alt"] for image in page.images) == 3
    assert TITLE in page.words
    assert "not for diagnosis" in page.words


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_a_browser_opens_the_page_without_a_complaint(out: Path, tmp_path: Path) -> None:
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/u"]
    options += ["--enable-logging=stderr", f"--screenshot={tmp_path}/s.png"]
    url = (out / "panel.html").as_uri()
    run = subprocess.run(
        [str(CHROMIUM), *options, "--window-size=1000,1200", url],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "CONSOLE" not in run.stderr
    shown = np.asarray(Image.open(tmp_path / "s.png").convert("RGB")).astype(int)
    assert (np.ptp(shown, axis=-1) > 60).mean() > 0.01  # the coloured labels


def test_without_the_mark_metadata_and_sidecar_still_say_it(
    files: dict[str, str], tmp_path: Path
) -> None:
    assert main(command(files, tmp_path / "a.html", "--no-mark")) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"a.html", "a.json"}
    facts = json.loads((tmp_path / "a.json").read_text())
    assert (facts["synthetic"], facts["marked"]) == (True, False)
    text = (tmp_path / "a.html").read_text()
    assert "not acquired" in text
    assert "not acquired" not in Page(text).words


def test_the_same_panel_is_the_same_bytes(files: dict[str, str], out: Path, tmp_path: Path) -> None:
    assert main(command(files, tmp_path)) == 0
    for name in ("panel.html", "panel.pdf", "panel.png"):
        assert (tmp_path / name).read_bytes() == (out / name).read_bytes()


def test_what_exists_is_not_overwritten_unless_told_to(
    files: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "panel.pdf").write_text("mine")
    assert main(command(files, tmp_path)) == 2
    assert "panel.pdf: exists already" in capsys.readouterr().err
    assert (tmp_path / "panel.pdf").read_text() == "mine"
    assert main(command(files, tmp_path, "--overwrite")) == 0
    assert main(command(files, tmp_path, "--overwrite")) == 0
    (tmp_path / "panel.json").write_text("{}")
    assert main(command(files, tmp_path, "--overwrite")) == 2
    assert "no sidecar of ours" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "0 contents given"),
        (["{scan}", "{scan}"], "2 contents given"),
        (["{scan}"], "no stylised image given"),
        (["{scan}", "--stylised", "{stylised}"], "no output given"),
        (["{scan}", "--stylised", "{stylised}", "-o", "{out}/a.gif"], "written as .png, .pdf"),
        (["{scan}", "--stylised", "gone.nii", "-o", "{out}/a.png"], "gone.nii: there is no such"),
        (["gone.nii", "--stylised", "{stylised}", "-o", "{out}"], "gone.nii: there is no such"),
        (
            ["{scan}", "--stylised", "{stylised}", "-o", "{out}", "panel.slices=[-1]"],
            "panel.slices",
        ),
        (
            ["{scan}", "--stylised", "{stylised}", "-o", "{out}", "panel.formats=[]"],
            "panel.formats",
        ),
        (["{scan}", "--stylised", "{stylised}", "-o", "{out}", "panel.label_names=3"], "a mapping"),
    ],
)
def test_mistakes_are_one_message_and_exit_code_2(
    files: dict[str, str],
    tmp_path: Path,
    arguments: list[str],
    words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = [argument.format(**files, out=tmp_path / "out") for argument in arguments]
    assert main(["panel", *given]) == 2
    errors = capsys.readouterr().err
    assert words in errors
    assert "Traceback" not in errors
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_help_imports_no_torch() -> None:
    code = (
        "import sys; from medstyle_gan.cli import main; main(['panel', '--help']); "
        "assert 'torch' not in sys.modules"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert b"--stylised" in run.stdout
