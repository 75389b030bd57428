from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from medstyle_gan.config import Config
from medstyle_gan.data.phantom import PhantomFolders
from medstyle_gan.methods import CycleGAN
from medstyle_gan.training import train
from tests.training.small import (
    NO_VGG,
    SMALL,
    assert_same_weights,
    collections,
    make_config,
    rows_of,
)

STEPS, WARM = 4, 2


class _Stop(Exception):
    pass


def _config(folders: PhantomFolders, kept: float = 0.0) -> Config:
    settings = {
        **SMALL,
        **NO_VGG,
        **collections(folders),
        "data.validation_fraction": 0,
        "training.steps": STEPS,
        "training.checkpoint_every": 1,
        "training.accelerator": "cpu",
        "training.precision": "fp32",
        "training.warm_start.steps": WARM,
        "training.warm_start.pairs": 2,
        "training.warm_start.kept_weight": kept,
        "training.warm_start.least_overlap": 0.3,
        "logging.log_every": 1,
        "guards.check_every": 1,
    }
    return make_config(settings)


@pytest.fixture(scope="module")
def run(folders: PhantomFolders, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    said: list[str] = []
    out = train(_config(folders), tmp_path_factory.mktemp("warm") / "run", announce=said.append)
    return out, "\n".join(said)


def test_a_run_tells_of_its_pseudo_pairs_and_logs_both_parts(run: tuple[Path, str]) -> None:
    out, said = run
    assert f"the first {WARM} steps are a warm start on 2 pseudo-pairs" in said
    assert "sub-" not in said
    rows = rows_of(out)
    warm = [bool(row["loss/warm_start_scan_to_style"]) for row in rows]
    assert warm == [step < WARM for step in range(STEPS)]
    assert [bool(row["loss/cycle_scan"]) for row in rows] == [not w for w in warm]


@pytest.mark.parametrize("killed_at", [1, WARM])
def test_a_killed_warm_start_ends_bit_for_bit_as_one_that_ran_through(
    killed_at: int,
    run: tuple[Path, str],
    folders: PhantomFolders,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    step = CycleGAN.training_step

    def dying_step(self: CycleGAN, batch: dict[str, Any], index: int) -> None:
        if self.step == killed_at:
            raise _Stop
        step(self, batch, index)

    out = tmp_path / "run"
    monkeypatch.setattr(CycleGAN, "training_step", dying_step)
    with pytest.raises(_Stop):
        train(_config(folders), out)
    monkeypatch.undo()
    train(_config(folders), out, resume=True)
    assert_same_weights(run[0], out)


def test_a_game_that_keeps_its_pseudo_pairs_goes_on_bit_for_bit(
    folders: PhantomFolders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    whole = train(_config(folders, 5.0), tmp_path / "whole", announce=said.append)
    assert "pseudo-pairs are kept in the game" in "\n".join(said)
    kept = [bool(row["loss/pseudo_pair_style_to_scan"]) for row in rows_of(whole)]
    assert kept == [step >= WARM for step in range(STEPS)]
    step = CycleGAN.training_step

    def dying_step(self: CycleGAN, batch: dict[str, Any], index: int) -> None:
        if self.step == WARM + 1:
            raise _Stop
        step(self, batch, index)

    monkeypatch.setattr(CycleGAN, "training_step", dying_step)
    with pytest.raises(_Stop):
        train(_config(folders, 5.0), tmp_path / "killed")
    monkeypatch.undo()
    train(_config(folders, 5.0), tmp_path / "killed", resume=True)
    assert_same_weights(whole, tmp_path / "killed")
