"""Trainings killed with SIGKILL and resumed end as those that ran through, bit for bit."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from medstyle_gan.config import dump_config, load_config
from medstyle_gan.data.phantom import PhantomFolders, write_phantom_collections
from medstyle_gan.training.checkpoint import load_checkpoint
from medstyle_gan.training.checkpoint_files import CheckpointFiles
from tests.training.forked_trainings import ForkedTrainings, Inside, Outside
from tests.training.small import NO_VGG, SMALL, collections, rows_of

CLOCKS = ("samples_per_second", "data_wait_share", "peak_memory_mib", "energy", "step_share")


@pytest.fixture(scope="module")
def trainings() -> Iterator[ForkedTrainings]:
    with ForkedTrainings() as program:
        yield program


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> PhantomFolders:
    return write_phantom_collections(
        tmp_path_factory.mktemp("phantoms"), subjects=3, seed=0, shape=(24, 24, 8)
    )


@pytest.fixture(scope="module")
def write_config(phantoms: PhantomFolders, tmp_path_factory: pytest.TempPathFactory) -> Any:
    cache = tmp_path_factory.mktemp("cache")

    def write(path: Path, **settings: Any) -> Path:
        options = {
            **collections(phantoms),
            **SMALL,
            **NO_VGG,
            "data.spacing": [8.0, 8.0, None],
            "data.sample_size": [24, 24],
            "data.cache.folder": str(cache),
            "method.pool_size": 3,
            "method.ema_decay": 0.9,
            "training.precision": "fp32",
            "training.keep_checkpoints": 2,
            "logging.log_every": 3,
            "logging.panel_every": 100,
        }
        options |= {name.replace("__", "."): value for name, value in settings.items()}
        path.write_text(dump_config(load_config(None, [], options=options)))
        return path

    return write


@pytest.fixture(scope="module")
def long_config(write_config: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_config(
        tmp_path_factory.mktemp("long") / "config.yaml",
        training__steps=60,
        training__checkpoint_every=1,
        training__validate_every=25,
    )


@pytest.fixture(scope="module")
def short_config(write_config: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_config(
        tmp_path_factory.mktemp("short") / "config.yaml",
        training__steps=6,
        training__checkpoint_every=2,
        training__validate_every=4,
    )


@pytest.fixture(scope="module")
def ran_through(
    trainings: ForkedTrainings, short_config: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    out = tmp_path_factory.mktemp("short") / "through"
    trainings.train(short_config, out)
    return out


def same(ours: Any, theirs: Any) -> bool:
    """Equal values, tensors bit for bit."""
    if isinstance(ours, torch.Tensor):
        return ours.dtype == theirs.dtype and torch.equal(ours, theirs)
    if isinstance(ours, dict):
        return ours.keys() == theirs.keys() and all(same(ours[k], theirs[k]) for k in ours)
    if isinstance(ours, list | tuple):
        return len(ours) == len(theirs) and all(map(same, ours, theirs))
    return bool(ours == theirs)


def figures_of(run: Path) -> list[dict[str, str]]:
    return [{k: v for k, v in row.items() if not k.startswith(CLOCKS)} for row in rows_of(run)]


def assert_ends_alike(run: Path, through: Path) -> None:
    for name in ("last", "best"):
        ours, theirs = (load_checkpoint(r / "checkpoints" / f"{name}.ckpt") for r in (run, through))
        assert ours.keys() == theirs.keys()
        assert [key for key in ours if not same(ours[key], theirs[key])] == []
    assert figures_of(run) == figures_of(through)
    weights = (r / "model" / "generators.safetensors" for r in (run, through))
    assert len({w.read_bytes() for w in weights}) == 1
    kept = [list(CheckpointFiles(r / "checkpoints").numbered()) for r in (run, through)]
    assert kept[0] == kept[1]
    assert not list(run.rglob("*.part"))


def test_ten_kills_at_random_instants_change_nothing(
    trainings: ForkedTrainings, long_config: Path, tmp_path: Path
) -> None:
    through, run = tmp_path / "through", tmp_path / "run"
    trainings.train(long_config, through)
    rng = random.Random(0)
    files = CheckpointFiles(run / "checkpoints")
    kills = [Outside(rng.randint(2, 4), rng.uniform(0, 0.03)) for _ in range(10)]
    reached = [0]
    for kill in kills:
        killed, _ = trainings.train(long_config, run, resume="if_started", kill=kill)
        assert killed
        reached.append(max(files.numbered()))
    assert all(later > before for before, later in pairwise(reached))
    killed, _ = trainings.train(long_config, run, resume=True)
    assert not killed
    assert_ends_alike(run, through)


@pytest.mark.parametrize(
    ("kill", "newest"),
    [
        pytest.param(Inside("half", count=2), 2, id="in the midst of a file"),
        pytest.param(Inside("os.rename", r"step_00000004\.ckpt$"), 2, id="not yet numbered"),
        pytest.param(Inside("os.link", r"step_00000004\.ckpt to"), 4, id="not yet the last"),
        pytest.param(Inside("os.rename", r"last\.ckpt$", 2), 4, id="last not yet renamed"),
        pytest.param(Inside("os.remove", r"step_00000002\.ckpt$"), 6, id="none removed yet"),
        pytest.param(Inside("os.rename", r"model\.yaml$"), 6, id="the model half written"),
    ],
)
def test_killed_between_two_operations_on_files(
    trainings: ForkedTrainings,
    short_config: Path,
    ran_through: Path,
    tmp_path: Path,
    kill: Inside,
    newest: int,
) -> None:
    run = tmp_path / "run"
    killed, _ = trainings.train(short_config, run, kill=kill)
    assert killed
    files = CheckpointFiles(run / "checkpoints")
    assert max(files.numbered()) == newest
    load_checkpoint(files.last)
    killed, lines = trainings.train(short_config, run, resume=True)
    assert not killed
    assert not any("damaged" in line for line in lines)
    assert any(f"from step {newest} " in line or f"step ({newest})" in line for line in lines)
    assert_ends_alike(run, ran_through)


def test_two_processes_killed_together_go_on_with_what_each_had(
    trainings: ForkedTrainings, write_config: Any, tmp_path: Path
) -> None:
    config = write_config(
        tmp_path / "config.yaml",
        training__steps=12,
        training__checkpoint_every=1,
        training__validate_every=5,
        training__devices=2,
        training__accelerator="cpu",
        method__pool_size=4,
    )
    through, run = tmp_path / "through", tmp_path / "run"
    trainings.train(config, through, processes=2)
    resume = False
    for steps in (5, 3):
        kill = Outside(steps, 0.0)
        assert trainings.train(config, run, resume, kill, processes=2)[0]
        resume = True
    assert not trainings.train(config, run, resume=True, processes=2)[0]
    assert_ends_alike(run, through)
    state = load_checkpoint(run / "checkpoints" / "step_00000011.ckpt")
    assert state["samples"] == 22
    assert sorted(state["pools"]["scan"]["images"]) == [0, 1]
    first, second = (rank["metrics"] for rank in state["ranks"])
    assert first["counts"] == second["counts"]
    assert first["sums"] != second["sums"]  # each saw its own samples
