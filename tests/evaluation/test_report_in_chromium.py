"""The pages in a real browser: nothing is logged, every image is drawn, the controls work."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

from medstyle_gan.evaluation.chapter import Chapter, Figure
from medstyle_gan.evaluation.report import write_report
from medstyle_gan.evaluation.thresholds import read_thresholds
from medstyle_gan.evaluation.verdict import judge
from medstyle_gan.evaluation.viewing import read_viewer, volumes_within
from tests.evaluation.made_evaluation import made_evaluation
from tests.evaluation.phantom_subjects import all_candidates, phantom_subject

CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium here (Debian: apt install chromium)"),
    pytest.mark.slow,
]

# Looks at the page from inside, and writes down what it saw.
LOOK = """<script>addEventListener("load", () => {
  const images = [...document.images];
  const width = document.getElementById("width");
  const seen = {
    images: images.length,
    broken: images.filter((i) => !(i.complete && i.naturalWidth > 0)).length,
    requests: performance.getEntriesByType("resource")
      .map((r) => r.name).filter((n) => !n.startsWith("data:")),
    clipped: [...document.querySelectorAll("svg.plot text")].filter((t) => {
      const box = t.getBBox(), all = t.ownerSVGElement.viewBox.baseVal;
      return box.x < 0 || box.y < 0 || box.x + box.width > all.width
        || box.y + box.height > all.height;
    }).map((t) => t.textContent),
    wide: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    background: getComputedStyle(document.body).backgroundColor,
  };
  if (width) {
    width.value = "1";
    width.dispatchEvent(new Event("input", { bubbles: true }));
    seen.slope = document.getElementById("window-r").getAttribute("slope");
    seen.intercept = document.getElementById("window-r").getAttribute("intercept");
    seen.shown = document.getElementById("window-shown").textContent;
  }
  document.body.setAttribute("data-seen", JSON.stringify(seen));
});</script>"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    thresholds = read_thresholds()
    one = made_evaluation(thresholds, "true", "model 1")
    # The longest names that there are.
    of = {"distance": "sliced_wasserstein"}
    looks = Chapter(
        "visual_effect",
        tuple(
            Figure("times_real", candidate, value, "× real", "lower", f"subject {number}", of)
            for candidate, value in (("translation", 4.0), ("histogram_matching", 1.0))
            for number in range(2)
        ),
    )
    one = replace(one, chapters=(*one.chapters, looks))
    one = replace(one, verdicts=(*one.verdicts, judge(looks, thresholds)))
    folder = tmp_path_factory.mktemp("chromium") / "report"
    write_report(folder, [one, replace(one, label="model 2")], thresholds)
    return folder


def seen_in(page: Path, profile: Path, *options: str, look: str = LOOK) -> dict:
    looked_at = page.with_name("looked_at.html")
    text, end, rest = page.read_text("utf-8").rpartition("</body>")
    looked_at.write_text(f"{text}{look}{end}{rest}", "utf-8")
    result = subprocess.run(
        [
            str(CHROMIUM),
            *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
            *("--enable-logging=stderr", f"--user-data-dir={profile}", "--window-size=1200,900"),
            *("--virtual-time-budget=5000", *options, "--dump-dom", looked_at.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    logged = [line for line in result.stderr.splitlines() if "CONSOLE" in line]
    # Reading pixels back, as this test does, is slow in WebGL, and it says so.
    assert [line for line in logged if "GL Driver Message" not in line] == []
    found = re.search(r'data-seen="([^"]*)"', result.stdout)
    assert found
    return json.loads(found.group(1).replace("&quot;", '"'))


def test_the_report(folder: Path, tmp_path: Path) -> None:
    seen = seen_in(folder / "model_1" / "report.html", tmp_path)
    assert seen["images"] >= 2 * 3 * 4
    assert seen["broken"] == 0
    assert seen["requests"] == []
    assert seen["wide"] <= 0
    assert seen["clipped"] == []
    # Level 0, width 1: of [-1, 1] the middle half fills the range.
    assert (float(seen["slope"]), float(seen["intercept"])) == (2.0, -0.5)
    assert seen["shown"] == "level 0, width 1"
    assert seen["background"] == "rgb(255, 255, 255)"


def test_it_fits_a_telephone(folder: Path, tmp_path: Path) -> None:
    seen = seen_in(folder / "model_1" / "report.html", tmp_path, "--window-size=500,900")
    assert seen["wide"] <= 0


def test_it_is_dark_where_that_is_asked_for(folder: Path, tmp_path: Path) -> None:
    dark = "--blink-settings=preferredColorScheme=0"
    seen = seen_in(folder / "model_1" / "report.html", tmp_path, dark)
    assert seen["background"] != "rgb(255, 255, 255)"


@pytest.mark.skipif(shutil.which("pdftotext") is None, reason="no pdftotext (poppler-utils) here")
def test_what_is_folded_up_is_printed(folder: Path, tmp_path: Path) -> None:
    page, pdf = folder / "model_1" / "report.html", tmp_path / "report.pdf"
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'p'}"]
    command = [str(CHROMIUM), *options, f"--print-to-pdf={pdf}", page.as_uri()]
    subprocess.run(command, capture_output=True, timeout=120, check=True)
    text = subprocess.run(
        ["pdftotext", pdf, "-"], capture_output=True, text=True, check=True
    ).stdout
    assert "<details><summary>Provenance" in page.read_text("utf-8")
    assert "0123456789abcdef" in text  # of the provenance
    assert "PSNR (region 1)" in text
    assert "reset" not in text  # there is nothing to be set on paper


def test_the_comparison(folder: Path, tmp_path: Path) -> None:
    seen = seen_in(folder / "report.html", tmp_path, "--window-size=500,900")
    assert seen["broken"] == 0
    assert seen["clipped"] == []
    assert seen["requests"] == []
    assert seen["wide"] <= 0


# NiiVue is no part of this repository: it is in the extra viewer, and MEDSTYLE_NIIVUE may say
# where a niivue.umd.js is.
NIIVUE = os.environ.get("MEDSTYLE_NIIVUE", "")
SCRIPTS = [
    pytest.param(
        None,
        id="extra",
        marks=pytest.mark.skipif(
            find_spec("ipyniivue") is None, reason="the extra viewer is not installed"
        ),
    ),
    pytest.param(
        NIIVUE,
        id="file",
        marks=pytest.mark.skipif(not NIIVUE, reason="MEDSTYLE_NIIVUE names no niivue.umd.js"),
    ),
]
OPEN = """<script>addEventListener("load", async () => {
  document.getElementById("viewer-start").click();
  const said = document.getElementById("viewer-said");
  while (!said.textContent) await new Promise((done) => setTimeout(done, 50));
  const { viewer } = document.getElementById("viewer");
  const canvas = document.getElementById("viewer-canvas");
  const copy = Object.assign(document.createElement("canvas"), { width: 100, height: 100 });
  const context = copy.getContext("2d");
  if (viewer) { viewer.drawScene(); context.drawImage(canvas, 0, 0, 100, 100); }
  const shades = new Set(context.getImageData(0, 0, 100, 100).data.filter((_, i) => i % 4 === 0));
  const requests = performance.getEntriesByType("resource")
    .map((r) => r.name).filter((n) => !n.startsWith("data:"));
  const seen = { said: said.textContent, shades: shades.size, requests };
  const mark = document.getElementById("viewer-mark");
  seen.marked = mark.checkVisibility() && mark.textContent;
  const image = document.getElementById("viewer-image");
  image.value = "scan";
  if (viewer) await image.onchange();
  seen.scan_marked = mark.checkVisibility();
  document.body.setAttribute("data-seen", JSON.stringify(seen));
});</script>"""


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_viewer_draws(tmp_path: Path, script: str | None) -> None:
    thresholds = read_thresholds()
    subject = phantom_subject(0)
    evaluation = replace(
        made_evaluation(thresholds),
        viewer=read_viewer(script),
        volumes=volumes_within([subject], all_candidates("true", [subject]), 2**20),
    )
    write_report(tmp_path / "report", [evaluation], thresholds)
    options = ("--use-angle=swiftshader", "--enable-unsafe-swiftshader")
    page = tmp_path / "report" / "report.html"
    seen = seen_in(page, tmp_path / "profile", *options, look=OPEN)
    assert seen["said"] == "subject 0, translation"
    assert seen["shades"] > 20
    assert seen["marked"] == "SYNTHETIC"
    assert not seen["scan_marked"]
    assert seen["requests"] == []
