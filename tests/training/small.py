"""The small settings that tests of whole trainings share, and looking at what came of them."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from medstyle_gan.config import Config, load_config
from medstyle_gan.data.phantom import PhantomFolders
from medstyle_gan.inference import load_bundle
from medstyle_gan.methods import CycleGAN, TrainedMethod

# The networks are as small as they get, and an image is as large as they can see.
SMALL: dict[str, Any] = {
    "data.spacing": [5.0, 5.0, None],
    "data.sample_size": [40, 40],
    "generator.ngf": 4,
    "generator.blocks": 1,
    "discriminator.ndf": 4,
    "discriminator.layers": 1,
    "vgg.weights": "random:0",
}
SHALLOW_VGG: dict[str, Any] = {
    "loss.perceptual.layers": ["relu2_1"],
    "loss.style.layers": ["relu1_1", "relu2_1"],
}
NO_VGG: dict[str, Any] = {
    "loss.perceptual.weight": 0,
    "loss.perceptual.reconstruction_weight": 0,
    "loss.style.weight": 0,
}
# A run at the phantoms' own voxel size, for what a command makes of it.
BARE_RUN: dict[str, Any] = {
    **SMALL,
    **NO_VGG,
    "data.spacing": [None, None, None],
    "training.accelerator": "cpu",
    "guards.enabled": False,
}


def collections(folders: PhantomFolders) -> dict[str, Any]:
    """Settings that name both collections."""
    return {"data.scans": str(folders.scans), "data.style": str(folders.style)}


def make_config(settings: Mapping[str, Any], *overrides: str) -> Config:
    """A config of dotted settings, less those that an override `key.path=value` gives."""
    given = {override.partition("=")[0] for override in overrides}
    options = {key: value for key, value in settings.items() if key not in given}
    return load_config(None, list(overrides), options=options)


def rows_of(run: Path) -> list[dict[str, str]]:
    """The rows of a run's `metrics.csv`."""
    with (run / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def weights_of(run: Path) -> dict[str, torch.Tensor]:
    """What a run's model holds."""
    return load_bundle(run).state


def assert_same_weights(first: Path, second: Path) -> None:
    """Bit for bit."""
    ours, theirs = weights_of(first), weights_of(second)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


class Killed(Exception):
    """What ends a training in its middle."""


@contextmanager
def killed_at(step: int, method: type[TrainedMethod] = CycleGAN) -> Iterator[None]:
    """Inside, a training must come to a step, and dies as it begins."""
    training_step = method.training_step

    def dying_step(self: TrainedMethod, batch: dict[str, Any], index: int) -> None:
        if self.step == step:
            raise Killed
        training_step(self, batch, index)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(method, "training_step", dying_step)
        with pytest.raises(Killed):
            yield
