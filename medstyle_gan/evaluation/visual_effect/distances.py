"""How far two sets of images are from each other, in features and in intensities."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from medstyle_gan.losses import style_distance

_SUBSETS = 10
_SUBSET_SIZE = 1000


class _Given(nn.Module):
    """Lets torchmetrics work on features that are there already."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor) -> Tensor:
        return features


def frechet_distance(features: Tensor, real: Tensor) -> float:
    """Fréchet distance between the Gaussians of two sets of features (Heusel et al. 2017).

    It is biased: with fewer images than features it comes out far too large, and as much so for
    one candidate as for another with the same number of images.

    Args:
        features: `(N, D)`, N at least 2.
        real: `(M, D)`, M at least 2.

    Returns:
        At least 0, in squared units of the features.
    """
    metric = FrechetInceptionDistance(_Given(real.shape[1])).set_dtype(torch.float64)
    metric.update(real.double(), real=True)
    metric.update(features.double(), real=False)
    return max(0.0, float(metric.compute()))


def kernel_distance(features: Tensor, real: Tensor, seed: int = 0) -> float:
    """Kernel distance of two sets of features (Bińkowski et al. 2018, "KID"), without bias.

    Args:
        features: `(N, D)`, N at least 2.
        real: `(M, D)`, M at least 2.
        seed: of the subsets that are drawn from the larger set.

    Returns:
        The squared maximum mean discrepancy with the kernel (x·y / D + 1)³, 0 on average for
        two sets from one distribution, where it may come out below 0.
    """
    with warnings.catch_warnings():  # of the memory that features take, which are here already
        warnings.filterwarnings("ignore", message=".*will save all extracted features")
        metric = KernelInceptionDistance(
            _Given(real.shape[1]),
            subsets=_SUBSETS,
            subset_size=min(len(features), len(real), _SUBSET_SIZE),
        )
    metric.update(real, real=True)
    metric.update(features, real=False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        mean, _ = metric.compute()
    return float(mean)


def feature_scale(real: Tensor) -> float:
    """The root mean square of features: what others are divided by to compare across networks."""
    return max(float(real.double().square().mean().sqrt()), 1e-12)


def gram_distance(grams: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> float:
    """How far Gram matrices are from a style's, as a share of the style's own (Gatys et al. 2016).

    Args:
        grams: layer → `(C, C)`.
        target: layer → `(C, C)`, the style's.

    Returns:
        The mean over layers of mean((G − A)²) / mean(A²); 0 where they are equal, 1 where there
        is nothing in the image.
    """
    layers = list(target)
    sizes = [float(target[layer].square().mean()) for layer in layers]
    weights = [1 / max(size, 1e-30) / len(layers) for size in sizes]
    own = {layer: grams[layer][None] for layer in layers}
    return float(style_distance(own, target, layers, weights))


def intensity_distance(quantiles: NDArray[np.floating], target: NDArray[np.floating]) -> float:
    """Wasserstein-1 distance between two histograms, from their quantiles.

    Args:
        quantiles: (n,) evenly spaced quantiles, from the smallest to the largest value.
        target: (n,) those of the other.

    Returns:
        How far intensities must be moved on average, in their own units; at least 0.
    """
    difference = np.abs(np.asarray(quantiles, np.float64) - np.asarray(target, np.float64))
    return float(np.trapezoid(difference, dx=1 / (len(difference) - 1)))
