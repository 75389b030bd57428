"""Networks whose features tell how an image looks; none of them downloads anything by itself."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import inception_v3

from medstyle_gan.errors import UserError
from medstyle_gan.losses import gram_matrix
from medstyle_gan.networks import VGG19Features, adapt_channels
from medstyle_gan.networks.vgg19 import IMAGENET_MEAN, IMAGENET_STD
from medstyle_gan.networks.winograd import winograd_pays

# One of each size that the style loss looks at, without the deepest: relu5_1 costs a quarter
# more and sees 16-pixel averages, of which the slice of a head holds few.
GRAM_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1")
FEATURE_LAYER = "relu4_1"
_INCEPTION_SIZE = 299
_AT_ONCE = 8


class FeatureNetwork(Protocol):
    """Gives one vector an image."""

    name: str

    def __call__(self, images: Tensor) -> Tensor:
        """Features `(N, D)` of grey images `(N, 1, H, W)` in [-1, 1]."""


class VGGLooks:
    """Mean features and Gram matrices of images, in one pass through VGG-19.

    Args:
        weights: see `VGG19Features`.

    Attributes:
        name: how notes call it.

    Raises:
        UserError: the weights are missing or not a VGG-19's.
    """

    def __init__(self, weights: str) -> None:
        self._vgg = VGG19Features(
            weights, GRAM_LAYERS, winograd=winograd_pays(torch.device("cpu"), "fp32")
        )
        kind = weights.split(":")[0]
        said = {"imagenet": "ImageNet's weights", "random": "seeded random weights"}
        self.name = f"VGG-19 with {said.get(kind, 'the given weights')}, layer {FEATURE_LAYER}"
        self._weights = weights

    def __reduce__(self) -> tuple[type[VGGLooks], tuple[str]]:
        return VGGLooks, (self._weights,)

    @torch.no_grad()
    def look(self, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """What the network sees.

        Args:
            images: `(N, 1, H, W)` in [-1, 1]; sides under 8 pixels are filled up with black.

        Returns:
            The means over positions of `FEATURE_LAYER`, `(N, 512)`, and the mean over images of
            the Gram matrices of `GRAM_LAYERS`, layer → `(C, C)`.
        """
        height, width = images.shape[-2:]
        least = self._vgg.minimum_size
        images = F.pad(images, (0, max(0, least - width), 0, max(0, least - height)), value=-1.0)
        means: list[Tensor] = []
        sums: dict[str, Tensor] = {}
        for batch in images.split(_AT_ONCE):
            seen = self._vgg(batch)
            means.append(seen[FEATURE_LAYER].mean(dim=(2, 3)))
            for layer, features in seen.items():
                gram = gram_matrix(features).sum(dim=0) / len(images)
                sums[layer] = sums[layer] + gram if layer in sums else gram
        return torch.cat(means), sums

    def __call__(self, images: Tensor) -> Tensor:
        """Mean features `(N, 512)` of `(N, 1, H, W)` in [-1, 1]."""
        return self.look(images)[0]


class InceptionFeatures(nn.Module):
    """The 2048 pooled features of torchvision's Inception-v3 (Szegedy et al. 2016), from a file.

    The weights that published Fréchet Inception distances use are another port of the same
    network, so that figures compare with each other and not with papers.

    Args:
        path: a state dict of `torchvision.models.inception_v3`.

    Raises:
        UserError: the file is missing or holds other weights.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, path: str | Path) -> None:
        super().__init__()
        self.name = "Inception-v3 with the given weights, pooled features"
        self._path = path
        with torch.random.fork_rng(devices=[]):  # initial weights are drawn
            network = inception_v3(weights=None, init_weights=False, aux_logits=True)
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            network.load_state_dict(state)
        except FileNotFoundError as error:
            raise UserError(
                f"{path}: there is no such file; give the state dict of torchvision's "
                "inception_v3, or leave it out for VGG-19"
            ) from error
        except (OSError, RuntimeError, TypeError, AttributeError, pickle.UnpicklingError) as error:
            raise UserError(
                f"{path}: holds no weights of torchvision's inception_v3 "
                f"({str(error).splitlines()[0]}); give its state dict, or leave it out for VGG-19"
            ) from error
        network.fc = nn.Identity()
        self._network = network.eval().requires_grad_(False)
        for name, values in (("mean", IMAGENET_MEAN), ("std", IMAGENET_STD)):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1))

    def __reduce__(self) -> tuple[type[InceptionFeatures], tuple[str | Path]]:
        return InceptionFeatures, (self._path,)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Features `(N, 2048)` of `(N, 1, H, W)` in [-1, 1], resized to 299 x 299."""
        size = (_INCEPTION_SIZE, _INCEPTION_SIZE)
        means = []
        for batch in images.split(_AT_ONCE):
            resized = F.interpolate(batch, size, mode="bilinear", antialias=True)
            rgb = adapt_channels(resized, 3) / 2 + 0.5
            means.append(self._network((rgb - self.mean) / self.std))
        return torch.cat(means)


def mean_grams(grams: list[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of volumes' Gram matrices, layer → `(C, C)`."""
    return {layer: torch.stack([g[layer] for g in grams]).mean(dim=0) for layer in grams[0]}
