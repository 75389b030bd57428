"""Trainings of one network for both directions, from volumes on disk to translations both ways."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from medstyle_gan.config import Config
from medstyle_gan.data.phantom import PhantomFolders
from medstyle_gan.errors import UserError
from medstyle_gan.inference import Translator, load_bundle
from medstyle_gan.training import export, train
from medstyle_gan.training.checkpoint import load_checkpoint
from medstyle_gan.training.exporting import checkpoint_bundle
from medstyle_gan.volumes import read_volume
from tests.training.small import (
    NO_VGG,
    SMALL,
    assert_same_weights,
    collections,
    make_config,
    rows_of,
)

DIRECTIONS: Any = ("scan_to_style", "style_to_scan")


def small_config(folders: PhantomFolders, *overrides: str) -> Config:
    settings = {
        **collections(folders),
        **SMALL,
        **NO_VGG,
        "generator.name": "switchable",
        "generator.code_size": 8,
        "method.pool_size": 3,
        "method.ema_decay": 0.5,
        "training.steps": 6,
        "training.checkpoint_every": 3,
        "training.validate_every": 3,
        "logging.log_every": 2,
        "logging.panel_every": 6,
    }
    return make_config(settings, *overrides)


@pytest.fixture(scope="module")
def run(folders: PhantomFolders, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(small_config(folders), tmp_path_factory.mktemp("runs") / "run")


def test_both_ways_are_trained_and_translate(run: Path, folders: PhantomFolders) -> None:
    losses = [float(row["loss/cycle_scan"]) for row in rows_of(run) if row["loss/cycle_scan"]]
    assert len(losses) == 3
    assert losses[-1] < losses[0]
    translator = Translator.load(run)
    volume = read_volume(sorted(folders.scans.iterdir())[0])
    translations = [translator(volume, direction) for direction in DIRECTIONS]
    for translation in translations:
        assert translation.geometry.shape == volume.geometry.shape
        assert np.isfinite(translation.array).all()
    assert not np.array_equal(translations[0].array, translations[1].array)


def test_codes_of_both_directions_and_the_shared_layers_have_moved(run: Path) -> None:
    first, last = (
        load_checkpoint(run / "checkpoints" / name)["networks"]
        for name in ("step_00000003.ckpt", "last.ckpt")
    )
    for direction in DIRECTIONS:
        for name, tensor in last[direction].items():
            before_a_norm = name.endswith("bias") and ".codes." not in f".{name}"
            assert before_a_norm or not torch.equal(tensor, first[direction][name]), name


def test_a_checkpoint_holds_the_shared_weights_once(run: Path, tmp_path: Path) -> None:
    state = load_checkpoint(run / "checkpoints" / "last.ckpt")
    there, back = (state["networks"][d] for d in DIRECTIONS)
    for name in (n for n in there if n.startswith("layers.")):
        assert there[name].data_ptr() == back[name].data_ptr()
    counted = sum(len(group["params"]) for group in state["optimizers"][0]["param_groups"])
    assert counted == len({t.data_ptr() for part in (there, back) for t in part.values()})


def test_a_resumed_run_ends_bit_for_bit_as_the_one_that_ran_through(
    run: Path, folders: PhantomFolders, tmp_path: Path
) -> None:
    out = Path(shutil.copytree(run, tmp_path / "run"))
    shutil.rmtree(out / "model")
    (out / "checkpoints" / "last.ckpt").unlink()
    for later in (out / "checkpoints").glob("step_00000006.ckpt"):
        later.unlink()
    train(small_config(folders), out, resume=True)
    assert_same_weights(out, run)
    ours, theirs = (load_checkpoint(r / "checkpoints" / "last.ckpt") for r in (out, run))
    torch.testing.assert_close(ours["optimizers"], theirs["optimizers"], rtol=0, atol=0)
    torch.testing.assert_close(ours["ema"], theirs["ema"], rtol=0, atol=0)


def test_exported_bundles_translate_as_the_run_does(
    run: Path, folders: PhantomFolders, tmp_path: Path
) -> None:
    volume = read_volume(sorted(folders.style.iterdir())[0])
    expected = Translator.load(run)(volume, "style_to_scan").array
    assert checkpoint_bundle(run).hash == load_bundle(run).hash
    for format in ("safetensors", "monai"):
        out = export(run, tmp_path / format, format)  # type: ignore[arg-type]
        np.testing.assert_array_equal(Translator.load(out)(volume, "style_to_scan").array, expected)


def test_grey_scans_and_colour_pictures_are_refused_before_anything_is_written(
    folders: PhantomFolders, tmp_path: Path
) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for index in range(3):
        colours = np.random.default_rng(index).integers(0, 255, (48, 48, 3), np.uint8)
        Image.fromarray(colours).save(pictures / f"{index}.png")
    config = small_config(folders, f"data.style={pictures}")
    with pytest.raises(UserError, match=r"generator\.name=switchable.*not 1 and 3"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
