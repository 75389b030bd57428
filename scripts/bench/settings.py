"""The configurations that a benchmark compares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from medstyle_gan.config import Config, load_config
from medstyle_gan.errors import UserError

# Switched off, these make the networks and losses those of a plain CycleGAN.
WITHOUT_VGG = (
    "loss.perceptual.weight=0",
    "loss.perceptual.reconstruction_weight=0",
    "loss.style.weight=0",
)
# Without discriminators too: what remains of a step is the generators'.
WITHOUT_DISCRIMINATORS = (*WITHOUT_VGG, "loss.adversarial.weight=0")
# Decided by the parts themselves.
_OWN = ("data.scans", "data.style", "data.cache.folder", "training.steps")

_SIZE, _QUICK_SIZE = 128, 32
_QUICK = {
    "generator.ngf": 4,
    "generator.blocks": 1,
    "discriminator.ndf": 4,
    "discriminator.layers": 1,
}


def bench_config(
    overrides: Sequence[str], quick: bool, options: Mapping[str, object] | None = None
) -> Config:
    """The benchmark's settings: the defaults' losses on networks that suit a CPU.

    Args:
        overrides: `key.path=value`, which win; `WITHOUT_VGG` may follow the user's.
        quick: sizes of a smoke test.
        options: more settings of the benchmark itself.

    Raises:
        UserError: the overrides have mistakes, set what the benchmark sets itself, or ask for
            what the textbook loop has not.
    """
    taken = [key for key in _OWN if any(o.partition("=")[0].strip() == key for o in overrides)]
    if taken:
        raise UserError(f"the benchmark sets {', '.join(taken)} itself; leave that out")
    size = _QUICK_SIZE if quick else _SIZE
    settings: dict[str, object] = {
        "data.sample_size": [size, size],
        "generator.ngf": 32,
        "generator.blocks": 6,
        "vgg.weights": "random:0",  # as fast as trained ones, and there without a download
    }
    config = load_config(
        None, overrides, options=settings | (_QUICK if quick else {}) | dict(options or {})
    )
    if config.loss.adversarial.name != "least_squares" or config.loss.total_variation.weight:
        raise UserError(
            "the textbook loop knows the least-squares game and no total variation; leave "
            "loss.adversarial.name and loss.total_variation.weight as they are"
        )
    if config.training.devices > 1:
        raise UserError("this benchmark uses one process; leave training.devices at 1")
    return config


def bench_device(config: Config) -> torch.device:
    """Where the networks run."""
    on_gpu = config.training.accelerator != "cpu" and torch.cuda.is_available()
    return torch.device("cuda" if on_gpu else "cpu")
