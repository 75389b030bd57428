"""2.5-D from training to translation: neighbouring slices as channels."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image

from medstyle_gan.cli import main
from medstyle_gan.data.phantom import PhantomFolders
from medstyle_gan.inference import Translator, load_bundle
from tests.end_to_end.conftest import Refused
from tests.end_to_end.tiny import assert_same_geometry, train_command

NEIGHBOURS = ["data.dims=2.5", "data.neighbours=1", "training.checkpoint_every=1"]
NEIGHBOURS += ["method.constant_fraction=1"]  # so that a run can be made longer


def train(phantoms: PhantomFolders, run: Path, *more: object) -> int:
    command = train_command(phantoms.scans, phantoms.style, run, *NEIGHBOURS, *more)
    return main([str(argument) for argument in command])


@pytest.fixture(scope="module")
def run(phantoms: PhantomFolders, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("neighbours") / "run"
    assert train(phantoms, folder) == 0
    return folder


def test_training_translates_stacks_and_shows_their_middle(run: Path) -> None:
    bundle = load_bundle(run)
    assert bundle.channels == {"scan": 1, "style": 1}
    weights = bundle.generator_state("scan_to_style")
    assert weights["layers.1.weight"].shape[1] == 3
    sizes = [w.shape for n, w in weights.items() if n.endswith("weight")]
    assert sum(size[0] == 3 for size in sizes) == 1  # and stacks come out
    panel = Image.open(run / "samples" / "step_000002.png")
    assert panel.mode == "L"  # one slice of each stack, not three as colours


def test_a_volume_keeps_its_grid(run: Path, phantoms: PhantomFolders, tmp_path: Path) -> None:
    scan = sorted(phantoms.scans.glob("*.nii.gz"))[0]
    assert main(["translate", str(run), str(scan), "-o", str(tmp_path)]) == 0
    assert_same_geometry(scan, tmp_path / scan.name)
    assert np.ptp(nib.load(tmp_path / scan.name).get_fdata()) > 0


def test_the_uncertainty_has_the_runs_checkpoints(run: Path, phantoms: PhantomFolders) -> None:
    scan = sorted(phantoms.scans.glob("*.nii.gz"))[0]
    translation = Translator.load(run, "cpu", "fp32").translate(scan, uncertainty=True)
    assert translation.uncertainty is not None
    assert translation.uncertainty.array.shape == translation.image.array.shape
    assert translation.uncertainty.array.max() > 0
    (run / "model").rename(run.parent / "exported")
    try:
        alone = Translator.load(run.parent / "exported", "cpu", "fp32")
        flips = alone.translate(scan, uncertainty=True)
    finally:
        (run.parent / "exported").rename(run / "model")
    assert flips.uncertainty is not None
    assert not np.array_equal(flips.uncertainty.array, translation.uncertainty.array)
    np.testing.assert_array_equal(flips.image.array, translation.image.array)


def test_a_resumed_training_is_the_one_that_would_have_been(
    run: Path, phantoms: PhantomFolders, tmp_path: Path
) -> None:
    half = tmp_path / "half"
    assert train(phantoms, half, "training.steps=1") == 0
    assert train(phantoms, half, "--resume") == 0
    ours, theirs = load_bundle(half).state, load_bundle(run).state
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_pictures_have_no_neighbours(
    phantoms: PhantomFolders, refused: Refused, tmp_path: Path
) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number in range(2):
        Image.fromarray(np.full((40, 40), 40 * number, np.uint8)).save(pictures / f"{number}.png")
    command = train_command(phantoms.scans, pictures, tmp_path / "out", *NEIGHBOURS)
    message = refused(*command)
    assert "data.dims is 2.5" in message
    assert "set data.dims=2" in message
