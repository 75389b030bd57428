"""The study of misaligned pairs: what each training is given, and what its table says."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from medstyle_gan.config import Config
from medstyle_gan.data.phantom import make_phantom
from tests.scripts.conftest import LoadScript


@pytest.fixture
def script(load_script: LoadScript) -> Any:
    return load_script("study_misaligned_pairs")


@pytest.fixture
def study(script: Any) -> Any:
    return importlib.import_module("bench.misaligned_pairs")


def test_four_trainings_differ_in_their_pairs_alone(
    script: Any,
    study: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No training: what each would be given; the real thing is seconds of CPU for each."""
    seen: list[tuple[Config, dict[str, np.ndarray]]] = []

    def volumes(folder: object) -> np.ndarray:
        files = sorted(Path(str(folder)).iterdir())
        return np.stack([np.asanyarray(nib.load(file).dataobj) for file in files])

    def train(config: Config, out: Path) -> Path:
        folders = {"scan": config.data.scans, "style": config.data.style}
        seen.append((config, {d: volumes(f) for d, f in folders.items()}))
        return out

    def score_rows(*_: Any) -> list[Any]:
        number = len(seen)
        return [SimpleNamespace(name="translation", number=number)]

    def mean_scores(rows: list[Any]) -> dict[str, float]:
        return {"psnr": 10.0 + rows[0].number, "ssim": 0.5, "mae": 0.2, "spearman": 0.3}

    monkeypatch.setattr(study, "train", train)
    monkeypatch.setattr(study.Translator, "load", lambda run: None)
    monkeypatch.setattr(study, "score_rows", score_rows)
    monkeypatch.setattr(study, "mean_scores", mean_scores)
    file = tmp_path / "study.json"
    assert script.main(["--quick", "--json", str(file), "training.steps=7"]) == 0
    printed = capsys.readouterr().out
    result = json.loads(file.read_text())["misaligned_pairs"]
    assert [run["psnr"] for run in result["runs"]] == [11, 12, 13, 14]
    for kind, psnr in zip(study.TRAININGS, ("11.00", "12.00", "13.00", "14.00"), strict=True):
        assert any(kind in line and psnr in line for line in printed.splitlines())

    (unpaired, lying, registered, aligned), data = zip(*seen, strict=True)
    assert [c.data.pairing for c in (unpaired, lying)] == ["none", "subject"]
    assert [c.loss.registration.weight for c in (unpaired, registered)] == [0, 20]
    assert [c.loss.registration.deform for c in (lying, registered, aligned)] == [
        False,
        True,
        False,
    ]
    assert all(c.training.steps == result["steps"] == 7 for c in (unpaired, aligned))
    assert all(np.array_equal(d["scan"], data[0]["scan"]) for d in data)
    same = [np.array_equal(d["style"], data[0]["style"]) for d in data]
    assert same == [True, True, True, False]


def test_a_style_volume_is_moved_by_what_is_told(study: Any) -> None:
    phantom = make_phantom(0, (32, 32, 8))
    still, length = study._moved(phantom, np.random.default_rng(0), 0.0)
    np.testing.assert_allclose(still.style, phantom.style, atol=1)
    assert not length.any()
    moved, length = study._moved(phantom, np.random.default_rng(0), 5.0)
    assert 3 < length.mean() < 10
    assert np.abs(moved.style - phantom.style).mean() > 10
    assert np.array_equal(moved.scan, phantom.scan)


def test_what_the_study_sets_itself_is_refused(
    script: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert script.main(["--quick", "data.pairing=none"]) == 2
    assert "data.pairing" in capsys.readouterr().err
