"""The terms that hold a translation's structure to its scan's, whatever the method."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from medstyle_gan.config.loss_section import StructureLossConfig
from medstyle_gan.data.words import OTHER
from medstyle_gan.losses.structure import (
    gradient_correlation,
    information_lost,
    local_correlation_distance,
    mind_distance,
)
from medstyle_gan.methods.schedule import weight_factor
from medstyle_gan.methods.vgg_regularizer import Term
from medstyle_gan.networks import adapt_channels

# Of an image's range above its lowest value: what is brighter is no background.
_ABOVE = 0.05
# Gaps of twice as many pixels are closed (ventricles, air in the sinuses).
_REACH = 2


class StructureTerms:
    """Structure distances between images and their translations, in both directions.

    Images in colour are compared by their luminance; 2.5-D ones slice by slice.

    Args:
        config: the `loss.structure` section.
        steps: of the whole training, which the weights' schedules go by.
        slices: that an image has as channels.
    """

    def __init__(self, config: StructureLossConfig, steps: int, slices: int = 1) -> None:
        self.config = config
        self._steps = steps
        self._slices = slices
        window, bins = config.ncc.window, config.mutual_information.bins
        self._distances: dict[str, Callable[[Tensor, Tensor, Tensor | None], Tensor]] = {
            "gradient_correlation": gradient_correlation,
            "mind": mind_distance,
            "ncc": partial(local_correlation_distance, window=window),
            "mutual_information": partial(information_lost, bins=bins),
        }

    def __call__(
        self,
        step: int,
        real: Mapping[str, Tensor],
        translated: Mapping[str, Tensor],
        masks: Mapping[str, Tensor] | None = None,
    ) -> dict[str, Term]:
        """The terms that act at a step.

        Args:
            step: steps done before this one.
            real: domain → images `(B, C, *spatial)` in [-1, 1].
            translated: domain → images translated into that domain, where there are some.
            masks: domain → bool `(B, 1 or slices, *spatial)`, the body of its images where it is
                known; else it is guessed from them, see `foreground`.

        Returns:
            name → term; empty where all weights are 0.
        """
        weights = {
            name: section.weight * weight_factor(step, self._steps, section)
            for name, section in self.config.terms.items()
        }
        acting = {name: weight for name, weight in weights.items() if weight}
        terms: dict[str, Term] = {}
        for target, source in OTHER.items():
            if not acting or target not in translated:
                continue
            scan, x = self._grey(real[source]), self._grey(translated[target])
            mask = None
            if self.config.region == "foreground":
                known = (masks or {}).get(source)
                mask = foreground(scan) if known is None else self._one_by_one(known)
            for name, weight in acting.items():
                value = self._distances[name](x, scan, mask)
                terms[f"{name}_{source}_to_{target}"] = Term(value, weight)
        return terms

    def _one_by_one(self, mask: Tensor) -> Tensor:
        return mask.flatten(0, 1)[:, None] if self._slices > 1 else mask

    def _grey(self, images: Tensor) -> Tensor:
        """`(B · slices, 1, *spatial)`."""
        if self._slices > 1:
            images = images.unflatten(1, (self._slices, -1)).flatten(0, 1)
        return adapt_channels(images, 1)


@torch.no_grad()
def foreground(images: Tensor) -> Tensor:
    """Roughly where the body is in samples, from the samples alone.

    All that is brighter than a twentieth of the sample's range above its darkest value, with
    gaps of a few pixels closed. A sample of one value is background.

    Args:
        images: `(B, 1, *spatial)`.

    Returns:
        bool, of their shape.
    """
    axes = tuple(range(1, images.ndim))
    low, high = images.amin(axes, keepdim=True), images.amax(axes, keepdim=True)
    bright = (images > low + _ABOVE * (high - low)).float()
    pool = F.max_pool2d if images.ndim == 4 else F.max_pool3d
    size = 2 * _REACH + 1
    wide = pool(bright, size, 1, _REACH)
    # An erosion is the dilation of what is not there; beyond the image nothing is missing.
    return -pool(-wide, size, 1, _REACH) > 0.5
