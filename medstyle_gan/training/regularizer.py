"""Makes the VGG-19 terms of a run: the network, and the mean Gram matrices of both domains."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from medstyle_gan.config import Config
from medstyle_gan.data.cached_volume import CachedCollection
from medstyle_gan.data.sampling import fixed_samples
from medstyle_gan.methods.vgg_regularizer import VGGRegularizer, collection_grams, wanted_layers
from medstyle_gan.networks import VGG19Features
from medstyle_gan.networks.precision import Precision

# Enough slices for the mean Gram of a collection to settle; each costs one pass of VGG-19.
_GRAM_SAMPLES = 48
_BATCH = 4


def make_regularizer(
    config: Config,
    collections: Mapping[str, CachedCollection],
    device: torch.device,
    precision: Precision,
) -> VGGRegularizer | None:
    """The VGG-19 terms that the config asks for.

    Args:
        config: all settings.
        collections: domain → training collection, for `loss.style.target: collection`.
        device: where the mean Gram matrices are computed.
        precision: arithmetic of the feature network.

    Returns:
        None when the weights of all terms are 0, so that they cost nothing.
    """
    layers = wanted_layers(config.loss)
    if not layers:
        return None
    vgg = VGG19Features(config.vgg.weights, layers).to(device)
    if not config.loss.style.weight or config.loss.style.target != "collection":
        return VGGRegularizer(vgg, config.loss)
    targets = {}
    with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
        for domain, collection in collections.items():
            samples = fixed_samples(
                collection, config.data, _GRAM_SAMPLES, config.training.seed
            ).to(device)
            grams = collection_grams(vgg, samples.split(_BATCH), config.loss.style.layers)
            targets[domain] = grams
    return VGGRegularizer(vgg, config.loss, targets)
