"""A training on declared pairs: what it tells, logs and keeps, and going on after it was killed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from medstyle_gan.data.phantom import PhantomFolders, write_phantom_collections
from medstyle_gan.training import train
from tests.training.small import NO_VGG, SMALL, killed_at, make_config, rows_of, weights_of

STEPS, KILLED_AT = 3, 2


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> PhantomFolders:
    """Two subjects with both contrasts, one in each collection alone, and one more to score."""
    root = tmp_path_factory.mktemp("declared")
    made = write_phantom_collections(root, subjects=1, pairs=3, shape=(40, 40, 8))
    for subject in sorted(made.pairs.iterdir())[:2]:
        shutil.move(subject / "scan.nii.gz", made.scans / f"{subject.name}_T1w.nii.gz")
        shutil.move(subject / "style.nii.gz", made.style / f"{subject.name}_T2w.nii.gz")
        shutil.rmtree(subject)
    return made


def _config(folders: PhantomFolders) -> Any:
    settings = {
        **SMALL,
        **NO_VGG,
        "data.scans": str(folders.scans),
        "data.style": str(folders.style),
        "data.pairs.folder": str(folders.pairs),
        "data.pairing": "subject",
        "generator.background": "clamp",
        "loss.registration.weight": 20,
        "registration.width": 4,
        "registration.levels": 2,
        "training.steps": STEPS,
        "training.checkpoint_every": 1,
        "training.accelerator": "cpu",
        "training.precision": "fp32",
        "logging.log_every": 1,
        "guards.check_every": 1,
    }
    return make_config(settings)


def test_a_killed_training_on_pairs_ends_bit_for_bit_as_one_that_ran_through(
    folders: PhantomFolders, tmp_path: Path
) -> None:
    said: list[str] = []
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    train(_config(folders), whole, announce=said.append)
    told = "\n".join(said)
    assert "2 declared pairs of 2 subjects" in told
    assert "1 scans and 1 style volumes are left out" in told
    assert "sub-" not in told
    assert all(float(row["loss/registration_scan_to_style"]) > 0 for row in rows_of(whole))
    assert all(float(row["loss/registration_roughness"]) >= 0 for row in rows_of(whole))

    with killed_at(KILLED_AT):
        train(_config(folders), killed)
    train(_config(folders), killed, resume=True)

    states = [_last_checkpoint(run) for run in (whole, killed)]
    ours, theirs = (state["networks"] for state in states)
    assert "registration_network" in ours
    assert "registration_network" not in states[0]["ema"]
    for name, weights in ours.items():
        assert all(torch.equal(weights[part], theirs[name][part]) for part in weights)
    assert not any("registration" in name for name in weights_of(whole))


def _last_checkpoint(run: Path) -> dict[str, Any]:
    files = sorted((run / "checkpoints").glob("*.ckpt"))
    states = [torch.load(file, weights_only=True) for file in files]
    state: dict[str, Any] = max(states, key=lambda s: s["step"])
    assert state["step"] == STEPS
    return state
