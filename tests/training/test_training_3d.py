"""Trainings on 3-D patches, from volumes on disk to a model that translates volumes."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image

from medstyle_gan.cli import main
from medstyle_gan.config import Config
from medstyle_gan.data.phantom import PhantomFolders, write_phantom_collections
from medstyle_gan.errors import UserError
from medstyle_gan.inference import Translator, load_bundle
from medstyle_gan.training import train
from medstyle_gan.training.checkpoint import load_checkpoint
from medstyle_gan.volumes import read_volume
from tests.training.small import (
    NO_VGG,
    SMALL,
    assert_same_weights,
    collections,
    killed_at,
    make_config,
    rows_of,
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> PhantomFolders:
    return write_phantom_collections(
        tmp_path_factory.mktemp("phantoms"), subjects=3, seed=0, shape=(32, 32, 20)
    )


def small_config(folders: PhantomFolders, *overrides: str) -> Config:
    settings = {
        **collections(folders),
        **SMALL,
        **NO_VGG,
        "data.dims": 3,
        "data.spacing": [7.0, 7.0, 3.5],
        "data.sample_size": [16, 16, 12],
        "loss.total_variation.weight": 0.1,
        "method.pool_size": 3,
        "method.ema_decay": 0.9,
        "training.steps": 6,
        "training.precision": "fp32",
        "training.checkpoint_every": 2,
        "training.validate_every": 3,
        "guards.check_every": 3,
        "logging.log_every": 2,
        "logging.panel_every": 6,
        "logging.panel_samples": 2,
    }
    if any(override.startswith("generator.name") for override in overrides):
        del settings["generator.blocks"]
    return make_config(settings, *overrides)


@pytest.fixture(scope="module")
def lines() -> list[str]:
    return []


@pytest.fixture(scope="module")
def run(
    folders: PhantomFolders, lines: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    return train(small_config(folders), out, announce=lines.append)


def test_the_start_tells_patches_and_the_memory_of_a_step(run: Path, lines: list[str]) -> None:
    summary, memory, *_ = lines
    assert "on 16x16x12 samples" in summary
    assert "2 steps an epoch of 2 scan samples" in summary  # one a volume
    assert memory.startswith("a step needs about ")


def test_every_figure_is_there_and_finite(run: Path) -> None:
    rows = rows_of(run)
    assert [int(row["step"]) for row in rows] == [2, 3, 4, 6]
    last = rows[-1]
    for name in (
        "loss/cycle_scan",
        "loss/identity_style",
        "loss/total_variation_scan_to_style",
        "loss/discriminator_scan",
        "guard/movement_scan_to_style",
        "guard/rank_correlation_style_to_scan",
        "validation/cycle_error_scan",
        "validation/distance_scan_to_style",
    ):
        assert np.isfinite(float(last[name])), name


def test_panels_show_three_planes_of_each_sample(run: Path) -> None:
    panel = np.asarray(Image.open(run / "samples" / "step_000006.png"))
    # Sixteen voxels are drawn as 112 pixels, twelve as 84; two samples of three planes each.
    assert panel.shape == (22 + 2 * (112 + 84 + 84 + 4) + 2, 8 * 114 - 2 + 14 - 2 + 2)
    assert panel[22:].std() > 10


def test_the_model_translates_a_volume_on_its_own_grid(
    run: Path, folders: PhantomFolders, tmp_path: Path
) -> None:
    assert load_bundle(run).config.data.dims == 3
    scan = sorted(folders.scans.iterdir())[0]
    assert main(["translate", str(run), str(scan), "-o", str(tmp_path)]) == 0
    before, after = nib.load(scan), nib.load(tmp_path / scan.name)
    assert before.shape == after.shape
    np.testing.assert_array_equal(before.affine, after.affine)
    voxels = np.asarray(after.dataobj)
    assert voxels.std() > 0
    np.testing.assert_array_equal(voxels, Translator.load(run)(read_volume(scan)).array)


@pytest.mark.parametrize("overrides", [(), ("training.accumulate=2",)], ids=str)
def test_resumed_run_ends_bit_for_bit_as_the_one_that_ran_through(
    folders: PhantomFolders,
    tmp_path: Path,
    overrides: tuple[str, ...],
) -> None:
    config = small_config(folders, *overrides)
    through, out = train(config, tmp_path / "through"), tmp_path / "run"
    with killed_at(3):
        train(config, out)
    assert load_checkpoint(out / "checkpoints" / "last.ckpt")["step"] == 2
    train(config, out, resume=True)
    assert_same_weights(out, through)
    ours, theirs = (load_checkpoint(r / "checkpoints" / "last.ckpt") for r in (out, through))
    for name in ("scan", "style"):
        images = [state["pools"][name]["images"] for state in (ours, theirs)]
        assert images[0].keys() == images[1].keys()
        assert all(torch.equal(images[0][place], images[1][place]) for place in images[0])


def test_checkpointed_activations_change_nothing(
    run: Path, folders: PhantomFolders, tmp_path: Path
) -> None:
    again = train(small_config(folders, "generator.checkpoint_activations=true"), tmp_path / "run")
    assert_same_weights(again, run)


def test_loader_workers_do_not_change_the_model(
    run: Path, folders: PhantomFolders, tmp_path: Path
) -> None:
    assert_same_weights(run, train(small_config(folders, "data.workers=2"), tmp_path / "workers"))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_unet_is_trained_and_scored_on_pairs(
    folders: PhantomFolders, tmp_path: Path, precision: str
) -> None:
    unet = ("generator.name=unet", "generator.levels=2", f"training.precision={precision}")
    pairs = (f"data.pairs.folder={folders.pairs}", "training.steps=2")
    out = train(small_config(folders, *unet, *pairs), tmp_path / "run")
    (row,) = rows_of(out)
    assert 0 < float(row["validation/psnr"]) < 60
    assert -1 <= float(row["validation/ssim"]) <= 1
    assert 0 < float(row["validation/mae"]) < 2
    before = {name: t.clone() for name, t in load_bundle(out).state.items()}
    assert all(t.isfinite().all() for t in before.values())


def test_reconstruction_gets_better(folders: PhantomFolders, tmp_path: Path) -> None:
    longer = ("training.steps=40", "logging.log_every=10", "training.validate_every=40")
    rows = rows_of(train(small_config(folders, *longer, "generator.ngf=8"), tmp_path / "run"))
    # About 0.75 is reached: enough to tell a training from none.
    for name in ("cycle_scan", "identity_style"):
        assert float(rows[-1][f"loss/{name}"]) < 0.85 * float(rows[0][f"loss/{name}"])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("data.sample_size=[16,18,12]",), "multiples of 4"),
        (("data.sample_size=[16,16,4]",), "at least 8"),
        (("discriminator.layers=2",), "at least 12"),
        (("data.sample_size=[16,8,8]",), "two sides of at least 14"),
        (("data.sample_size=[64,64,12]",), "larger than every volume"),
    ],
)
def test_what_cannot_be_trained_on_leaves_no_run_folder(
    folders: PhantomFolders, tmp_path: Path, overrides: tuple[str, ...], message: str
) -> None:
    if overrides == ("discriminator.layers=2",):
        overrides = (*overrides, "data.sample_size=[16,16,8]")
    with pytest.raises(UserError, match=message):
        train(small_config(folders, *overrides), tmp_path / "run")
    assert not (tmp_path / "run").exists()
