"""Makes the VGG-19 terms of a run: the network, and the mean Gram matrices of both domains."""

from __future__ import annotations

from typing import get_args

import torch

from medstyle_gan.config import Config
from medstyle_gan.data.datamodule import UnpairedDataModule
from medstyle_gan.data.sampling import UnpairedDataset
from medstyle_gan.data.words import Domain
from medstyle_gan.methods.vgg_regularizer import (
    Grams,
    VGGRegularizer,
    collection_grams,
    wanted_layers,
)
from medstyle_gan.networks import VGG19Features
from medstyle_gan.networks.precision import Precision

# Enough slices for the mean Gram of a collection to settle; each costs one pass of VGG-19.
_GRAM_SAMPLES = 48
_BATCH = 4


def load_features(config: Config) -> VGG19Features | None:
    """The feature network that the config's terms look through.

    Returns:
        None when the weights of all terms are 0, so that they cost nothing.

    Raises:
        UserError: its weights cannot be had, or the samples are too small for its layers.
    """
    layers = wanted_layers(config.loss)
    if not layers:
        return None
    vgg = VGG19Features(config.vgg.weights, layers)
    vgg.refuse_small(config.data.sample_size)
    return vgg


def make_regularizer(
    config: Config,
    vgg: VGG19Features | None,
    data: UnpairedDataModule,
    device: torch.device,
    precision: Precision,
) -> VGGRegularizer | None:
    """The VGG-19 terms around a feature network.

    Args:
        config: all settings.
        vgg: as `load_features` gives it.
        data: ready; its training collections give the mean Gram matrices.
        device: where those are computed.
        precision: arithmetic of the feature network.

    Returns:
        None without a feature network.
    """
    if vgg is None:
        return None
    vgg.to(device)
    if not config.loss.style.weight or config.loss.style.target != "collection":
        return VGGRegularizer(vgg, config.loss)
    return VGGRegularizer(vgg, config.loss, _mean_grams(config, vgg, data, device, precision))


def _mean_grams(
    config: Config,
    vgg: VGG19Features,
    data: UnpairedDataModule,
    device: torch.device,
    precision: Precision,
) -> dict[str, Grams]:
    """Domain → mean Gram matrices of samples drawn as the training draws them.

    Of other slices, or without augmentation, the mean would not be one that the real images
    of a training have.
    """
    training = config.training
    drawn = UnpairedDataset(data.scan, data.style, config.data, training.seed, _GRAM_SAMPLES)
    samples = [drawn[index] for index in range(_GRAM_SAMPLES)]
    grams = {}
    with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
        for domain in get_args(Domain):
            images = torch.stack([sample[domain] for sample in samples]).to(device)
            grams[domain] = collection_grams(vgg, images.split(_BATCH), config.loss.style.layers)
    return grams
