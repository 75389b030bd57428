"""How much a translation could have been another one: its spread over flips and checkpoints.

Test-time augmentation (Wang et al. 2019, "Aleatoric uncertainty estimation with test-time
augmentation for medical image segmentation with convolutional neural networks") tells where the
network's answer hangs on how the patient lay; the last checkpoints of a training are an ensemble
for free (Huang et al. 2017, "Snapshot ensembles"), which tells where the training had not made up
its mind. Generators have no dropout, so that there is none to leave on.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from medstyle_gan.data.intensity import FittedScale
from medstyle_gan.data.preprocessing import Prepared
from medstyle_gan.data.words import Direction
from medstyle_gan.errors import UserError
from medstyle_gan.inference.bundles.bundle import Bundle
from medstyle_gan.inference.bundles.generators import generators_of_checkpoint, restore_generator
from medstyle_gan.inference.network.network import Network, OnProgress, Way, part_of
from medstyle_gan.inference.network.paths import moved_axes, translate_way, ways_of
from medstyle_gan.volumes.workspace import release, slabs, slow_axis


def translate_with_spread(
    networks: Sequence[Network],
    prepared: Prepared,
    on_progress: OnProgress | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Translate a volume by several generators and mirrored, for the mean and the spread.

    Every generator sees the volume in all ways that `inference` asks for, and, where it is mirrored
    in none of them, mirrored left to right too, as training does.

    Args:
        networks: the model's own first, then those of earlier checkpoints.

    The others are those of `translate_once`.

    Returns:
        `(C', X, Y, Z)` float32: the translation, which is the one without the spread, and the
        standard deviation (of a sample: over n - 1) over all translations.

    Raises:
        UserError: where there is only one translation.
    """
    main = networks[0]
    own, seen = ways_of(main), ways_to_see(main, len(networks))
    members = [(network, way) for network in networks for way in seen]
    translation, mean, squares = (prepared.zeros(main.out_channels) for _ in range(3))
    for index, (network, way) in enumerate(members):
        part = part_of(on_progress, index, len(members))
        unit = translate_way(network, prepared, way, part)
        wanted = network is main and way in own
        for slab in slabs(unit.shape, slow_axis(mean)):
            if wanted:
                translation[slab] += unit[slab]
            # Welford's update: no difference of large sums.
            change = unit[slab] - mean[slab]
            mean[slab] += change / np.float32(index + 1)
            squares[slab] += change * (unit[slab] - mean[slab])
            release(unit, translation, mean, squares)
        del unit  # before the next is made
    for slab in slabs(mean.shape, slow_axis(mean)):
        if len(own) > 1:
            translation[slab] *= np.float32(1 / len(own))
        squares[slab] = np.sqrt(squares[slab] / np.float32(len(members) - 1))
        release(translation, squares)
    return translation, squares


def ways_to_see(network: Network, networks: int) -> list[Way]:
    """The ways in which each generator sees the volume.

    Args:
        network: the model's own.
        networks: how many generators there are.

    Raises:
        UserError: where there would be only one translation.
    """
    seen = ways_of(network)
    if not any(way.mirrored for way in seen) and 0 in moved_axes(network):
        seen.append(Way((0,)))  # left to right
    if networks * len(seen) < 2:
        raise UserError(
            "the uncertainty is the spread of several translations, and there is only one: this "
            f"model's slices are {network.data.plane}, where left and right are not mirrored, and "
            "no earlier checkpoint stands beside it; set inference.flips=[anterior_posterior], or "
            "give the run folder with its checkpoints/"
        )
    return seen


def native_spread(deviations: np.ndarray, prepared: Prepared, scale: FittedScale) -> np.ndarray:
    """Standard deviations in [-1, 1] units as ones in native units.

    Args:
        deviations: `(C, X, Y, Z)`.
        prepared: the volume; outside its body the translation is one value.
        scale: intensity scale of the translation.

    Returns:
        `(1, X, Y, Z)` float32, 0 outside the body; of a colour translation the root mean square
        over its channels.
    """
    spread = prepared.zeros(1)
    half_range = np.float32(scale.half_range)
    for slab in slabs(deviations.shape, slow_axis(deviations[0]) + 1):
        rms = np.sqrt(np.square(deviations[slab]).mean(axis=0, keepdims=True))
        spread[slab] = np.where(prepared.foreground[slab[1:]], rms * half_range, np.float32(0))
        release(deviations, spread, prepared.foreground)
    return spread


def restore_earlier(bundle: Bundle, direction: Direction) -> dict[int, nn.Module]:
    """The generator as it was in the other checkpoints that its run has kept.

    Args:
        bundle: read from a run folder; one from elsewhere has no checkpoints.
        direction: which generator.

    Returns:
        step → generator in evaluation mode, oldest first; empty without checkpoints.

    Raises:
        UserError: for a file that is no checkpoint of this model.
    """
    if bundle.folder is None or bundle.folder.name != "model":
        return {}
    paths = sorted((bundle.folder.parent / "checkpoints").glob("step_*.ckpt"))
    found = (_weights(path, bundle, direction) for path in paths)
    return {
        step: restore_generator(bundle, direction, weights) for step, weights in found if weights
    }


def _weights(path: Path, bundle: Bundle, direction: Direction) -> tuple[int, dict[str, Tensor]]:
    """One checkpoint's step and weights; none for the model's own step."""
    try:
        # Mapped: of the optimisers' state, most of the file, nothing is read.
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        if state["step"] == bundle.steps:
            return state["step"], {}
        kept = generators_of_checkpoint(state, bundle.config.inference.ema)[direction]
        weights = {name: tensor.clone() for name, tensor in kept.items()}
        return int(state["step"]), weights
    except (OSError, RuntimeError, KeyError, TypeError, EOFError, pickle.UnpicklingError) as error:
        raise UserError(
            f"{path}: not a readable checkpoint of this run ({type(error).__name__}); move it "
            "out of checkpoints/, or give model/ copied elsewhere to do without checkpoints"
        ) from error
