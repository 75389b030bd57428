from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from medstyle_gan.config import Config
from medstyle_gan.data.cached_volume import CachedCollection
from medstyle_gan.data.phantom import PhantomFolders
from medstyle_gan.data.pseudo_pairs import PseudoPairs
from medstyle_gan.errors import UserError
from medstyle_gan.evaluation import registered_map as module
from medstyle_gan.evaluation.evaluating import Settings, evaluate
from medstyle_gan.evaluation.references import REGISTERED_MAP
from medstyle_gan.evaluation.registered_map import registered_map
from medstyle_gan.inference import load_bundle
from medstyle_gan.inference.bundles.card import describe_model, format_card
from medstyle_gan.training import train
from medstyle_gan.training.exporting import checkpoint_bundle
from tests.training.small import (
    NO_VGG,
    SMALL,
    assert_same_weights,
    collections,
    killed_at,
    make_config,
    rows_of,
)

STEPS, WARM = 4, 2


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
        "training.warm_start.refine": False,
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


@pytest.mark.parametrize("killed_before", [1, WARM])
def test_a_killed_warm_start_ends_bit_for_bit_as_one_that_ran_through(
    killed_before: int, run: tuple[Path, str], folders: PhantomFolders, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    with killed_at(killed_before):
        train(_config(folders), out)
    train(_config(folders), out, resume=True)
    assert_same_weights(run[0], out)
    assert load_bundle(out).intensity_map == load_bundle(run[0]).intensity_map


def test_the_model_brings_what_pseudo_pairs_tell_of_intensities(
    run: tuple[Path, str], folders: PhantomFolders
) -> None:
    bundle = load_bundle(run[0])
    learned = bundle.intensity_map
    assert learned is not None
    assert checkpoint_bundle(run[0]).intensity_map == learned
    assert "256 numbers" in format_card(describe_model(bundle))
    (evaluation,) = evaluate(run[0], pairs=folders.pairs, settings=Settings(chapters=["fidelity"]))
    candidates = [f.candidate for f in evaluation.chapters[0].figures if f.name == "psnr"]
    assert candidates.count(REGISTERED_MAP) == candidates.count("translation") > 0
    assert any("came with the model" in note for note in evaluation.notes)


def test_a_map_is_made_of_the_collections_where_it_is_wanted(
    run: tuple[Path, str], folders: PhantomFolders, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, bundle = run[0], load_bundle(run[0])
    without = replace(bundle, intensity_map=None)
    absent = registered_map(without, out)
    assert absent.learned is None
    assert "--registered-map makes one" in absent.note
    made = registered_map(without, out, make=True)
    assert made.learned == bundle.intensity_map
    with pytest.raises(UserError, match="--scans and --style are not both given"):
        registered_map(without, out / "model", make=True)

    def refuse(scan: CachedCollection, style: CachedCollection, *rest: object) -> PseudoPairs:
        seen.append((scan.subjects, style.subjects))
        raise UserError("none is good enough")

    seen: list[Any] = []
    monkeypatch.setattr(module, "make_pseudo_pairs", refuse)
    data = _config(folders).data
    both = {"scans": str(folders.scans), "style": str(folders.style), "data": data}
    with pytest.raises(UserError, match="good enough; or leave --registered-map out"):
        registered_map(without, out / "model", make=True, **both)
    assert [len(subjects) for subjects in seen[0]] == [3, 3]


def test_a_game_that_keeps_its_pseudo_pairs_goes_on_bit_for_bit(
    folders: PhantomFolders, tmp_path: Path
) -> None:
    said: list[str] = []
    whole = train(_config(folders, 5.0), tmp_path / "whole", announce=said.append)
    assert "pseudo-pairs are kept in the game" in "\n".join(said)
    kept = [bool(row["loss/pseudo_pair_style_to_scan"]) for row in rows_of(whole)]
    assert kept == [step >= WARM for step in range(STEPS)]
    with killed_at(WARM + 1):
        train(_config(folders, 5.0), tmp_path / "killed")
    train(_config(folders, 5.0), tmp_path / "killed", resume=True)
    assert_same_weights(whole, tmp_path / "killed")
