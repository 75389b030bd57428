"""The style transfer benchmark: a smoke run, and that both contenders minimise the same."""

from __future__ import annotations

import importlib
import importlib.util
import json
from pathlib import Path

import pytest
import torch


@pytest.fixture
def script(repository: Path, monkeypatch):
    monkeypatch.syspath_prepend(str(repository / "scripts"))
    path = repository / "scripts" / "bench_stylize.py"
    spec = importlib.util.spec_from_file_location("bench_stylize", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def gatys_time(script):
    return importlib.import_module("bench.gatys_time")


def test_the_textbook_minimises_what_ours_does(gatys_time) -> None:
    content, style = gatys_time.pictures(64)
    config = gatys_time.bench_gatys_config([])
    contenders = [
        gatys_time.TextbookGatys(config.vgg.weights, config.loss, content, style),
        gatys_time.OurGatys("ours", config, content, style),
    ]
    noise = torch.randn(content.shape, generator=torch.Generator().manual_seed(0))
    picture = content + 0.1 * noise
    results = []
    for contender in contenders:
        leaf = picture.clone().requires_grad_()
        results.append((float(contender.evaluate(leaf).detach()), leaf.grad))
    assert results[1][0] == pytest.approx(results[0][0], rel=1e-4)
    # Rounding may choose another of two nearly equal pixels of a pooling, which few pixels show.
    likeness = torch.nn.functional.cosine_similarity(*(g.flatten() for _, g in results), dim=0)
    assert likeness > 0.9999


def test_a_quick_run_prints_and_writes_every_figure(script, tmp_path, capsys) -> None:
    file = tmp_path / "bench.json"
    assert script.main(["--quick", "--bf16", "--json", str(file)]) == 0
    printed = capsys.readouterr().out
    whole = json.loads(file.read_text())
    for name in ("feedforward", "adain"):
        assert whole[name]["pictures"]["32"]["pictures_per_second"] > 0
        assert whole[name]["volume"]["shape"] == [32, 32, 2]
        assert f"{name} (" in printed
    result = whole["gatys"]
    assert set(result["milliseconds"]) == {"textbook", "ours", "ours, bf16"}
    assert result["gradient_likeness"]["ours"] > 0.999
    assert result["gradient_likeness"]["ours, bf16"] > 0.9
    assert result["evaluations"]["ours"] >= 3
    for memory in result["mib"].values():
        assert 0 < memory["imports"] < memory["peak"]
    assert [ratio["name"] for ratio in result["ratios"]] == [
        "ours / textbook, an evaluation",
        "loss after 3 iterations",
        "an evaluation in these iterations",
        "peak memory beyond imports",
    ]
    for ratio in result["ratios"]:
        assert ratio["name"] in printed


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("method.steps=3", "leave method"),
        ("loss.stylee.weight=1", "loss.style"),
        ("method.name=cyclegan", "leave method.name out"),
    ],
)
def test_settings_that_cannot_be_compared_are_refused(script, override, named, capsys) -> None:
    assert script.main(["--quick", override]) == 2
    assert named in capsys.readouterr().err
