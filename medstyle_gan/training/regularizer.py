"""Makes the VGG-19 terms of a run: the network, and the mean Gram matrices of both domains."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any, get_args

import torch
from torch import Tensor

from medstyle_gan.config import Config
from medstyle_gan.data.cache import cache_folder
from medstyle_gan.data.datamodule import UnpairedDataModule
from medstyle_gan.data.sampling import UnpairedDataset
from medstyle_gan.data.words import Domain
from medstyle_gan.methods import METHODS
from medstyle_gan.methods.vgg_regularizer import (
    Grams,
    VGGRegularizer,
    collection_grams,
)
from medstyle_gan.methods.vgg_views import Views
from medstyle_gan.networks import VGG19Features
from medstyle_gan.networks.precision import Precision
from medstyle_gan.training.gram_cache import grams_of

# Enough slices for the mean Gram of a collection to settle; each costs one pass of VGG-19.
_GRAM_SAMPLES = 48
_SAMPLES_A_BIN = 16
_BATCH = 4
# Settings of the data that change no sample; what the files hold is told by their contents.
_PLACES = {"scans", "style", "pairs", "cache", "workers", "subject_pattern"}


def load_features(config: Config) -> VGG19Features | None:
    """The feature network that the config's terms look through.

    Returns:
        None when the weights of all terms are 0, so that they cost nothing.

    Raises:
        UserError: its weights cannot be had, or what it sees of the samples is too small
            for its layers.
    """
    layers = METHODS[config.method.name].layers(config.loss)
    if not layers:
        return None
    vgg = VGG19Features(config.vgg.weights, layers)
    views = Views(config.vgg)
    vgg.refuse_small(views.smallest(config.data.sample_size), views.fields())
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
    views = Views(config.vgg, config.training.seed, config.data.sample_slices)
    style = config.loss.style
    if not style.weight or style.target == "batch":
        vgg.to(device)
        return VGGRegularizer(vgg, config.loss, views=views)
    # Hashed before they move to a device, from which they would have to be copied back.
    facts = _facts(config, vgg, data, device, precision)
    vgg.to(device)

    def make() -> dict[str, Grams]:
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            batches = _batches(config, data, device)
            bins = style.bins if config.uses_heights else None
            return collection_grams(vgg, batches, style.layers, views, bins)

    grams = grams_of(facts, cache_folder(config.data.cache), make)
    return VGGRegularizer(vgg, config.loss, grams, views)


def _batches(
    config: Config, data: UnpairedDataModule, device: torch.device
) -> Iterator[dict[str, Tensor]]:
    """Domain → images, drawn as the training draws them.

    Of other slices, or without augmentation, the mean Gram would not be one that the real
    images of a training have.
    """
    drawn = _drawn(config, data)
    names = [*get_args(Domain)]
    if config.uses_heights:
        names += [f"{domain}_height" for domain in get_args(Domain)]
    for first in range(0, _samples(config), _BATCH):
        # They are asked for where the network runs, but are made as the loader makes them.
        with torch.autocast(device.type, enabled=False):
            samples = [drawn[index] for index in range(first, first + _BATCH)]
        yield {n: torch.stack([torch.as_tensor(s[n]) for s in samples]).to(device) for n in names}


def _samples(config: Config) -> int:
    """How many samples of each domain the mean Gram matrices are over."""
    return _GRAM_SAMPLES if not config.uses_heights else _SAMPLES_A_BIN * config.loss.style.bins


def _drawn(config: Config, data: UnpairedDataModule) -> UnpairedDataset:
    return UnpairedDataset(
        data.scan,
        data.style,
        config.data,
        config.training.seed,
        length=_samples(config),
        heights=config.uses_heights,
    )


def _facts(
    config: Config,
    vgg: VGG19Features,
    data: UnpairedDataModule,
    device: torch.device,
    precision: Precision,
) -> dict[str, Any]:
    """All that the mean Gram matrices depend on.

    The first sample stands for the programs that read, draw and augment: other versions of
    them make another one.
    """
    first = _drawn(config, data)[0]
    sample = hashlib.sha256(b"".join(first[d].numpy().tobytes() for d in get_args(Domain)))
    return {
        "contents": [c.fingerprint()["contents"] for c in (data.scan, data.style)],
        "data": config.data.model_dump(mode="json", exclude=_PLACES),
        "seed": config.training.seed,
        "samples": [_samples(config), _BATCH, sample.hexdigest()],
        "weights": vgg.identity(),
        "layers": config.loss.style.layers,
        "views": config.vgg.model_dump(mode="json", exclude={"weights"}),
        "precision": precision,
        "device": device.type,
        **({"bins": config.loss.style.bins} if config.uses_heights else {}),
    }
