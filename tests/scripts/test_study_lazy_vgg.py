"""The study of lazily applied VGG terms: a smoke run, and what its figures are made of."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.scripts.conftest import LoadScript


@pytest.fixture
def script(load_script: LoadScript) -> Any:
    return load_script("study_lazy_vgg")


@pytest.fixture
def study(script: Any) -> Any:
    return importlib.import_module("bench.lazy_vgg")


def test_a_quick_run_prints_and_writes_every_figure(
    script: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "study.json"
    shallow = ["loss.perceptual.layers=[relu1_2]", "loss.style.layers=[relu1_1,relu2_1]"]
    assert script.main(["--quick", "--json", str(file), *shallow]) == 0
    printed = capsys.readouterr().out
    result = json.loads(file.read_text())["lazy_vgg"]
    eager, lazy = result["runs"]
    assert [run["kind"] for run in result["runs"]] == ["eager", "lazy"]
    assert len(result["comparison"]) == 6
    for term, found in result["comparison"].items():
        assert found["ratios"] == [found["ratio"]]
        assert found["ratio"] == pytest.approx(lazy["losses"][term] / eager["losses"][term])
        assert found["ratio"] != 1  # two trainings
        assert term in printed
    assert result["nothing_done"]["perceptual_scan_to_style"] == 0
    assert result["nothing_done"]["style_scan_to_style"] > 0
    assert 0 < eager["adam"]["vgg_share"] < 2
    assert 0.5 <= eager["adam"]["lazy_step"] <= 1
    assert "smoke test" in printed


def test_the_verdict_is_of_the_means_over_seeds(study: Any) -> None:
    def run(kind: str, style: float, content: float) -> dict[str, Any]:
        return {"kind": kind, "losses": {"style": style, "content": content}}

    runs = [run("eager", 1.0, 1.0), run("lazy", 1.2, 1.2), run("eager", 3.0, 1.0)]
    found = study.compare([*runs, run("lazy", 2.9, 1.0)])
    assert found["style"]["ratios"] == pytest.approx([1.2, 2.9 / 3])
    assert found["style"]["ratio"] == pytest.approx(4.1 / 4)
    assert found["style"]["within"]
    assert found["style"]["scatter"] == pytest.approx(2**0.5 / 2)
    assert found["content"]["ratio"] == pytest.approx(1.1)
    assert not found["content"]["within"]


def test_lazy_steps_are_those_of_the_gradients_mean_square(study: Any) -> None:
    """Against a training's own mean over steps of the square, term by term, of two periods."""
    torch.manual_seed(0)
    m, p, s = torch.randn(3, 5, 7).double()
    every = {"perceptual": 4, "style": 6}
    squares = [
        (m + p * 4 * (step % 4 == 0) + s * 6 * (step % 6 == 0)).square() for step in range(12)
    ]
    lazy = torch.stack(squares).mean(dim=0).mean(dim=0)
    eager = (m + p + s).square().mean(dim=0)
    found = study.adam_figures(m, p, s, every)
    assert found["lazy_step"] == pytest.approx(float((eager / lazy).sqrt().median()))
    share = (p + s).norm(dim=1).mean() / (m + p + s).norm(dim=1).mean()
    assert found["vgg_share"] == pytest.approx(float(share))


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["training.seed=2"], "training.seed"),
        (["generator.ngff=3"], "generator.ngf"),
        (["loss.perceptual.every_n_steps=1", "loss.style.every_n_steps=1"], "nothing is lazy"),
    ],
)
def test_what_cannot_be_studied_is_refused(
    script: Any, arguments: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert script.main(["--quick", *arguments]) == 2
    assert named in capsys.readouterr().err


@pytest.mark.parametrize("seeds", ["0,0", "a", "-1", ""])
def test_a_list_of_seeds_is_checked(script: Any, seeds: str) -> None:
    with pytest.raises(SystemExit):
        script.main(["--seeds", seeds])
