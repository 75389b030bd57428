from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from medstyle_gan.config import Config
from medstyle_gan.data.datamodule import UnpairedDataModule
from medstyle_gan.data.phantom import PhantomFolders
from medstyle_gan.data.pseudo_pairs import PseudoPairs
from medstyle_gan.methods import CycleGAN
from medstyle_gan.training import pseudo_pair_score as module
from medstyle_gan.training import train
from medstyle_gan.training.processes import Process, interleaved, joined
from medstyle_gan.training.pseudo_pair_score import PseudoPairScore
from medstyle_gan.training.run_folder import RunFolder
from tests.training.small import BARE_RUN, collections, make_config, rows_of

COLUMN = "validation/pseudo_pair_psnr_scan_to_style"


def _config(folders: PhantomFolders, **settings: Any) -> Config:
    """A training that holds a subject out and says nothing of pairs."""
    return make_config(
        {
            **BARE_RUN,
            **collections(folders),
            "training.steps": 4,
            "training.validate_every": 2,
            "training.precision": "fp32",
            "training.warm_start.steps": 2,
            "training.warm_start.refine": False,
            "training.warm_start.pairs": 2,
            "training.warm_start.least_overlap": 0.3,
            **settings,
        }
    )


@pytest.fixture(scope="module")
def prepared(folders: PhantomFolders) -> UnpairedDataModule:
    data = UnpairedDataModule(_config(folders))
    data.setup()
    data.prepare_validation_pairs()
    return data


@pytest.fixture(scope="module")
def pairs(prepared: UnpairedDataModule) -> PseudoPairs:
    assert prepared.validation_pairs is not None
    return prepared.validation_pairs


class _Method(CycleGAN):
    """Translates by a function."""

    def __init__(self, config: Config, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__(config)
        self._function = function

    def translate(self, images: Tensor, *args: Any, **options: Any) -> Tensor:
        return self._function(images)


def test_held_out_scans_are_registered_to_other_subjects(
    prepared: UnpairedDataModule, pairs: PseudoPairs
) -> None:
    assert prepared.validation_scan is not None
    for pair in pairs.kept:
        subject = pair.scan.item.subject
        assert subject in prepared.validation_scan.subjects
        assert subject not in prepared.scan.subjects
        assert pair.style.item.subject != subject


@pytest.mark.parametrize("body", ["masks", "guessed"])
def test_a_constant_error_has_the_psnr_of_the_closed_form(
    body: str, folders: PhantomFolders, pairs: PseudoPairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only where pairs can be believed: elsewhere the error is larger."""
    config = _config(folders)
    samples = module.fixed_pairs(pairs, config.data, 5, 0)
    if body == "masks":
        inside = torch.zeros_like(samples["weight"], dtype=torch.bool)
        inside[..., 10:20, 10:20] = True
        samples["mask"] = inside
    monkeypatch.setattr(module, "fixed_pairs", lambda *args: samples)
    score = PseudoPairScore(pairs, config.data, 5, 0)
    answers = iter(
        style + torch.where((weight > 0.5) & (mask > 0), 0.2, 1.5)
        for style, weight, mask in zip(
            samples["style"].split(1),
            samples["weight"].split(1),
            samples.get("mask", torch.ones_like(samples["weight"])).split(1),
            strict=True,
        )
    )
    found = score.psnr(_Method(config, lambda image: next(answers)))
    assert found == pytest.approx(20 * math.log10(2 / 0.2), abs=1e-4)


def test_what_is_nearer_scores_higher_and_several_processes_agree(
    folders: PhantomFolders, pairs: PseudoPairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = _config(folders)
    score = PseudoPairScore(pairs, config.data, 5, 0)
    nothing = _Method(config, lambda image: image)
    alone = score.psnr(nothing)
    worse = score.psnr(_Method(config, lambda image: torch.ones_like(image)))
    assert alone is not None
    assert worse is not None
    assert worse < alone
    parts: list[Any] = []
    for rank in range(3):
        with joined(Process(rank, rank, 3), None):
            monkeypatch.setattr(module, "gather_on_first", lambda part: parts.append(part))
            assert score.psnr(nothing) is None
    assert [len(part) for part in parts] == [2, 2, 1]
    monkeypatch.setattr(module, "gather_on_first", lambda part: [interleaved(parts)])
    assert score.psnr(nothing) == alone


def test_pseudo_pairs_of_held_out_scans_choose(folders: PhantomFolders, tmp_path: Path) -> None:
    said: list[str] = []
    out = train(_config(folders), tmp_path / "run", announce=said.append)
    assert "the best checkpoint is chosen on" in "\n".join(said)
    rows = [row for row in rows_of(out) if row["validation/score_scan_to_style"]]
    assert [int(row["step"]) for row in rows] == [2, 4]
    best = max(rows, key=lambda row: float(row[COLUMN]))
    checkpoint = torch.load(RunFolder(out).checkpoints.best, weights_only=True)
    assert checkpoint["best"]["kind"] == "pseudo-pairs"
    assert checkpoint["best"]["best_step"] == checkpoint["step"] == int(best["step"])
    assert checkpoint["best"]["best_score"] == pytest.approx(float(best[COLUMN]), rel=1e-5)


def test_style_and_structure_choose_where_held_out_scans_cannot_be_registered(
    folders: PhantomFolders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = UnpairedDataModule.prepare_validation_pairs

    def strictly(self: UnpairedDataModule) -> None:
        own = self._config
        start = own.training.warm_start.model_copy(update={"least_overlap": 1.0})
        training = own.training.model_copy(update={"warm_start": start})
        self._config = own.model_copy(update={"training": training})
        try:
            make(self)
        finally:
            self._config = own

    monkeypatch.setattr(UnpairedDataModule, "prepare_validation_pairs", strictly)
    said: list[str] = []
    out = train(_config(folders), tmp_path / "run", announce=said.append)
    assert "style and structure choose the best checkpoint" in "\n".join(said)
    assert COLUMN not in rows_of(out)[0]


@pytest.mark.parametrize("why", ["no warm start", "none held out", "pairs choose"])
def test_held_out_scans_are_registered_only_where_they_choose(
    why: str, folders: PhantomFolders
) -> None:
    settings: dict[str, dict[str, Any]] = {
        "no warm start": {"training.warm_start.steps": 0},
        "none held out": {"data.validation_fraction": 0},
        "pairs choose": {"data.pairs.folder": str(folders.pairs), "data.validation_fraction": 0.4},
    }
    data = UnpairedDataModule(_config(folders, **settings[why]))
    data.setup()
    assert (data.validation_scan is None) == (why == "none held out")
    data.prepare_validation_pairs()
    assert data.validation_pairs is None


def test_a_style_collection_that_spares_no_subject_is_validated_on_all_the_same(
    folders: PhantomFolders, tmp_path: Path
) -> None:
    """Two subjects of style are too few to hold one out; registrations need none of them."""
    kept = sorted(Path(folders.style).iterdir())[:2]
    (tmp_path / "style").mkdir()
    for file in kept:
        (tmp_path / "style" / file.name).symlink_to(file)
    out = train(_config(folders, **{"data.style": str(tmp_path / "style")}), tmp_path / "run")
    assert [bool(row[COLUMN]) for row in rows_of(out)][-1]
