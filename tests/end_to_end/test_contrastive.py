"""CUT and FastCUT from the command line: train, resume, translate, evaluate, info, export."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch

from medstyle_gan.cli import main
from medstyle_gan.config import load_config
from medstyle_gan.data.phantom import PhantomFolders
from medstyle_gan.inference import load_bundle
from medstyle_gan.methods import CUT
from medstyle_gan.training import train
from medstyle_gan.training.checkpoint import load_checkpoint
from tests.end_to_end.tiny import SIZES, SIZES_3D
from tests.training.small import killed_at

SHORT = [
    "training.steps=3",
    "training.checkpoint_every=2",
    "training.validate_every=3",
    "logging.log_every=1",
    "logging.panel_every=3",
    "logging.panel_samples=1",
    "data.workers=0",
    "guards.check_every=3",
    "loss.contrastive.patches=32",
    "method.projection_width=8",
    "loss.perceptual.layers=[relu2_1]",
    "loss.style.layers=[relu1_1,relu2_1]",
]
# Everything that may be switched on beside the method itself.
SWITCHES = [
    "loss.structure.mind.weight=1",
    "loss.structure.mutual_information.weight=1",
    "loss.structure.ncc.weight=1",
    "loss.structure.ncc.schedule=cosine",
    "loss.adversarial.zero_centred_penalty.weight=1",
    "loss.adversarial.zero_centred_penalty.every_n_steps=2",
    "discriminator.augmentation.translation=0.125",
    "discriminator.augmentation.cutout=0.5",
    "discriminator.spectral_norm=true",
    "generator.residual=true",
    "generator.attention=2",
]
OWN = {"cut": ["loss.contrastive.region=foreground", "method.pool_size=2"], "fastcut": SWITCHES}


def settings(name: str, phantoms: PhantomFolders) -> list[str]:
    places = [f"data.scans={phantoms.scans}", f"data.style={phantoms.style}"]
    return [f"method.name={name}", *places, *SIZES, *SHORT, *OWN[name]]


@pytest.fixture(scope="module")
def runs(phantoms: PhantomFolders, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("contrastive")
    for name in OWN:
        assert main(["train", *settings(name, phantoms), "-o", str(folder / name)]) == 0
    return {name: folder / name for name in OWN}


@pytest.mark.parametrize("name", OWN)
def test_a_run_holds_what_it_learned_by_and_the_model_the_generator_alone(
    name: str, runs: dict[str, Path]
) -> None:
    with (runs[name] / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    terms = ["contrastive_scan_to_style", "adversarial_scan_to_style", "discriminator_style"]
    if name == "cut":
        terms.append("contrastive_identity_style")
    else:
        terms += [f"{term}_scan_to_style" for term in ("mind", "ncc", "mutual_information")]
    for term in terms:
        assert all(np.isfinite(float(row[f"loss/{term}"])) for row in rows), term
    assert float(rows[-1]["validation/distance_scan_to_style"]) > 0
    assert "loss/cycle_scan" not in rows[0]
    state = load_checkpoint(runs[name] / "checkpoints" / "last.ckpt")
    assert set(state["networks"]) == {"scan_to_style", "style_discriminator", "projection_heads"}
    assert list(state["ema"]["generators"]) == ["scan_to_style"]
    assert load_bundle(runs[name]).network_names == ("scan_to_style",)
    assert (runs[name] / "samples" / "step_000003.png").exists()


@pytest.mark.parametrize("name", OWN)
def test_a_resumed_run_ends_bit_for_bit_as_the_one_that_ran_through(
    name: str, runs: dict[str, Path], phantoms: PhantomFolders, tmp_path: Path
) -> None:
    config = load_config(None, settings(name, phantoms))
    with killed_at(2, CUT):
        train(config, tmp_path / "run")
    torch.rand(10)  # another state of the global generator, as after a restart
    train(config, tmp_path / "run", resume=True)
    ours, theirs = (
        load_checkpoint(run / "checkpoints" / "last.ckpt") for run in (runs[name], tmp_path / "run")
    )
    for network, weights in ours["networks"].items():
        for key, weight in weights.items():
            assert torch.equal(weight, theirs["networks"][network][key]), (network, key)


@pytest.mark.parametrize("name", OWN)
def test_it_translates_one_way_and_is_exported(
    name: str, runs: dict[str, Path], phantoms: PhantomFolders, tmp_path: Path, capsys: Any
) -> None:
    run, scan = str(runs[name]), sorted(phantoms.scans.glob("*.nii.gz"))[0]
    assert main(["translate", run, str(scan), "-o", str(tmp_path / "out")]) == 0
    before, after = nib.load(scan), nib.load(tmp_path / "out" / scan.name)
    np.testing.assert_array_equal(before.affine, after.affine)
    assert after.shape == before.shape
    capsys.readouterr()
    back = ["--direction", "style_to_scan"]
    assert main(["translate", run, str(scan), "-o", str(tmp_path / "back"), *back]) == 2
    assert "translates one way; choose scan_to_style" in capsys.readouterr().err
    bundle = tmp_path / "bundle"
    assert main(["export", run, "-o", str(bundle)]) == 0
    assert load_bundle(bundle).hash == load_bundle(run).hash
    capsys.readouterr()
    assert main(["info", str(bundle)]) == 0
    card = capsys.readouterr().out
    assert f"{name}, step 3 of 3" in card
    assert "style_to_scan" not in card


def test_volumes_train_and_are_translated(phantoms: PhantomFolders, tmp_path: Path) -> None:
    places = [f"data.scans={phantoms.scans}", f"data.style={phantoms.style}"]
    no_vgg = ["loss.perceptual.weight=0", "loss.style.weight=0", "loss.structure.mind.weight=1"]
    own = ["method.name=cut", "data.dims=3", "training.steps=1", *no_vgg]
    short = [s for s in SHORT if "steps" not in s]
    run = tmp_path / "run"
    assert main(["train", *places, *SIZES_3D, *short, *own, "-o", str(run)]) == 0
    scan = sorted(phantoms.scans.glob("*.nii.gz"))[0]
    assert main(["translate", str(run), str(scan), "-o", str(tmp_path / "out")]) == 0
    assert nib.load(tmp_path / "out" / scan.name).shape == nib.load(scan).shape
