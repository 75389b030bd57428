"""Trainings that look at the body: clamped, weighted, and with styles by its height."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medstyle_gan.config import Config
from medstyle_gan.data.phantom import PhantomFolders
from medstyle_gan.data.preprocessing import prepare_volume
from medstyle_gan.inference import Translator
from medstyle_gan.methods import CycleGAN
from medstyle_gan.training import train
from medstyle_gan.volumes import read_volume
from tests.training.small import (
    SHALLOW_VGG,
    SMALL,
    assert_same_weights,
    collections,
    killed_at,
    make_config,
    rows_of,
)

STEPS = 3


def _config(folders: PhantomFolders) -> Config:
    settings = {
        **SMALL,
        **SHALLOW_VGG,
        **collections(folders),
        "generator.background": "clamp",
        "loss.region": "foreground",
        "loss.style.target": "position",
        "loss.style.bins": 2,
        "loss.style.every_n_steps": 1,
        "data.validation_fraction": 0.4,
        "training.steps": STEPS,
        "training.validate_every": STEPS,
        "training.checkpoint_every": 1,
        "training.accelerator": "cpu",
        "training.precision": "fp32",
        "logging.log_every": 1,
        "guards.check_every": 1,
    }
    return make_config(settings)


def test_a_run_of_bodies_resumes_exactly_and_has_the_background_of_whole_volumes(
    folders: PhantomFolders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backgrounds: dict[str, float] = {}
    step = CycleGAN.training_step

    def noted(self: CycleGAN, batch: dict[str, Any], index: int) -> None:
        backgrounds.update(self.body.background)
        assert batch["scan_mask"].any()
        assert not batch["scan_mask"].all()
        step(self, batch, index)

    monkeypatch.setattr(CycleGAN, "training_step", noted)
    config = _config(folders)
    whole = train(config, tmp_path / "whole")
    assert all(float(row["loss/style_scan_to_style"]) > 0 for row in rows_of(whole))
    translator = Translator.load(whole, device="cpu")
    scan = next(iter(sorted(folders.scans.iterdir())))
    prepared = prepare_volume(read_volume(scan), config.data, "scan")
    unit = translator.translate_unit(prepared, "scan_to_style")
    outside = unit[0][~prepared.foreground]
    np.testing.assert_allclose(outside, backgrounds["style"], atol=1e-6)

    with killed_at(1):
        train(config, tmp_path / "stopped")
    monkeypatch.setattr(CycleGAN, "training_step", step)
    train(config, tmp_path / "stopped", resume=True)
    assert_same_weights(whole, tmp_path / "stopped")
