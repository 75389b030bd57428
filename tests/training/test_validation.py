from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from medstyle_gan.config import load_config
from medstyle_gan.data.datamodule import UnpairedDataModule
from medstyle_gan.data.intensity import FittedScale
from medstyle_gan.data.phantom import PhantomFolders
from medstyle_gan.errors import UserError
from medstyle_gan.evaluation import ScoreRow
from medstyle_gan.inference import Translator
from medstyle_gan.methods import CycleGAN, TrainedMethod
from medstyle_gan.training import validation
from medstyle_gan.training.processes import Process, interleaved, joined, own_part
from tests.training.small import BARE_RUN, collections, make_config


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_pairs_are_scored_in_the_trainings_precision(
    precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = ["generator.ngf=4", "generator.blocks=1", "discriminator.ndf=4"]
    config = load_config(None, [*small, f"training.precision={precision}"])
    seen: list[Translator] = []

    def score(translator: Translator, *others: object) -> list[ScoreRow]:
        seen.append(translator)
        return [ScoreRow("a", "network", "translation", 1.0, 1.0, 0.0, 1.0)]

    monkeypatch.setattr(validation, "score_rows", score)
    scale = FittedScale(0.0, 1.0, clip=True)
    facts = {
        name: {"scan": value, "style": value}
        for name, value in (
            ("channels", 1),
            ("scales", scale),
            ("integer", False),
            ("background", 0.0),
            ("pictures", False),
        )
    }
    torch.manual_seed(0)
    validation.PairedValidation(config, [], facts).figures(CycleGAN(config))
    assert [translator.precision for translator in seen] == [precision]


@pytest.mark.parametrize("count", [1, 3, 4, 5])
@pytest.mark.parametrize("processes", [1, 2, 3])
def test_each_subject_is_looked_at_once_by_one_process(count: int, processes: int) -> None:
    whole = list(range(count))
    parts = []
    for rank in range(processes):
        with joined(Process(rank, rank, processes), None):
            parts.append(own_part(whole))
    assert sorted(x for part in parts for x in part) == whole
    assert interleaved(parts) == whole
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_a_best_score_of_another_kind_is_not_gone_on_from() -> None:
    """Such as the distance alone, which chose before."""

    class Scored(validation.Validation):
        def figures(self, method: TrainedMethod) -> dict[str, float] | None:
            return {}

        def score(self, figures: Mapping[str, float]) -> float:
            return 0.0

    class Other(Scored):
        kind = "style and structure"

    before, same, other = Scored(1, 2), Scored(1, 2), Other(1, 2)
    before.best_step, before.best_score = 1, -0.2
    for after in (same, other):
        after.load_state_dict(before.state_dict())
    assert (same.best_step, same.best_score) == (1, -0.2)
    assert (other.best_step, other.best_score) == (None, float("-inf"))
    other.load_state_dict({"best_step": 1, "best_score": -0.2})  # of a checkpoint without kinds
    assert other.best_step is None


def test_pairs_that_are_asked_for_must_be_given() -> None:
    config = load_config(None, ["training.validate_on=pairs"])
    with pytest.raises(UserError, match=r"training.validate_on=pairs needs pairs"):
        validation.make_validation(config, UnpairedDataModule(config))


def test_pairs_that_do_not_choose_are_told(folders: PhantomFolders, tmp_path: Path) -> None:
    """And the subjects that are looked at are held out, or all where that is refused."""
    options: dict[str, Any] = {
        **BARE_RUN,
        **collections(folders),
        "data.pairs.folder": str(folders.pairs),
        "data.cache.folder": str(tmp_path),
        "training.validate_on": "unpaired",
    }
    for held_out in (None, 0):
        config = make_config({**options, "data.validation_fraction": held_out})
        data = UnpairedDataModule(config)
        data.setup()
        assert (data.validation_scan is None) == (held_out == 0)
        found = validation.make_validation(config, data)
        assert isinstance(found, validation.WatchedValidation)
    torch.manual_seed(0)
    figures = found.figures(CycleGAN(config))
    assert figures is not None
    assert {"psnr", "spearman", "structure_lost_scan_to_style"} <= set(figures)
    assert found.score(figures) == figures["score_scan_to_style"]
    style, structure = (figures[f"{n}_scan_to_style"] for n in ("style_left", "structure_lost"))
    assert found.score(figures) == pytest.approx(-math.hypot(style, structure))
