from __future__ import annotations

import pytest
import torch

from medstyle_gan.config import load_config
from medstyle_gan.data.intensity import FittedScale
from medstyle_gan.evaluation import ScoreRow
from medstyle_gan.inference import Translator
from medstyle_gan.methods import CycleGAN
from medstyle_gan.training import validation
from medstyle_gan.training.processes import Process, joined


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
            parts.append(validation.own_part(whole))
    assert sorted(x for part in parts for x in part) == whole
    assert validation.interleaved(parts) == whole
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
