"""Style as Gram matrices of deep features (Gatys et al. 2016)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from medstyle_gan.networks.precision import at_least_fp32


class _Gram(torch.autograd.Function):
    """F Fᵀ / (C·P) of features: one matrix product backwards, where autograd would do two.

    In channels_last the features already lie as the rows of Fᵀ, and nothing is copied.
    """

    @staticmethod
    def forward(ctx: Any, features: Tensor) -> Tensor:
        ctx.save_for_backward(features)
        columns = _positions_first(features)
        return columns.mT @ columns / (columns.shape[1] * columns.shape[2])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (gradient,), (features,) = gradients, ctx.saved_tensors
        columns = _positions_first(features)
        both = (gradient + gradient.mT) / (columns.shape[1] * columns.shape[2])
        of_columns = (columns @ both).unflatten(1, features.shape[2:])
        return of_columns.movedim(-1, 1)


def _positions_first(features: Tensor) -> Tensor:
    """Fᵀ, `(B, P, C)`: a view of features in channels_last, and of contiguous ones too."""
    if features.is_contiguous():
        return features.flatten(2).mT
    return features.movedim(1, -1).flatten(1, -2)


def gram_matrix(features: Tensor) -> Tensor:
    """Gram matrix F Fᵀ / (C·H·W) of each image, F being its features as C rows, in fp32.

    Args:
        features: `(B, C, *spatial)`.

    Returns:
        `(B, C, C)`, symmetric and positive semidefinite.
    """
    with torch.autocast(features.device.type, enabled=False):
        gram: Tensor = _Gram.apply(at_least_fp32(features))
        return gram


def style_distance(
    features: Mapping[str, Tensor],
    target_grams: Mapping[str, Tensor],
    layers: Sequence[str],
    layer_weights: Sequence[float] | None = None,
) -> Tensor:
    """Σ w_l mean((G_l − A_l)²), each image against its own target, averaged over images.

    Gatys' layer term E_l is this one times C²/4 (for images of equal size, where his
    Gram matrices are ours times C·H·W).

    Args:
        features: layer → features `(B, C, *spatial)`, or their Gram matrices `(B, C, C)`.
        target_grams: layer → Gram matrices `(B, C, C)`, or one `(C, C)` for all images.
        layers: the layers to compare.
        layer_weights: w_l in the order of `layers`; equal weights that sum to 1 if omitted.

    Returns:
        A scalar in fp32.
    """
    if layer_weights is None:
        layer_weights = [1 / len(layers)] * len(layers)
    terms = []
    for name, weight in zip(layers, layer_weights, strict=True):
        own = features[name]
        gram = at_least_fp32(own) if own.ndim == 3 else gram_matrix(own)
        target = at_least_fp32(target_grams[name])
        if target.shape not in (gram.shape, gram.shape[1:]):
            raise ValueError(
                f"{name}: Gram matrices {list(gram.shape)} need targets of the same shape or "
                f"{list(gram.shape[1:])}, not {list(target.shape)}"
            )
        terms.append(weight * (gram - target).square().mean())
    return torch.stack(terms).sum()
