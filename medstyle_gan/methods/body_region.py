"""Where a method's images are the body's: clamped outside of it, judged inside of it.

After MaskGAN (Phan et al. 2023, "Structure-preserving synthesis: MaskGAN for unpaired MR-CT
translation", MICCAI), whose masks are coarse and found automatically too. There generators learn to
tell the mask; here it is given, by the same foreground that whole volumes are translated within.
"""

from __future__ import annotations

import torch
from torch import Tensor

from medstyle_gan.config import Config
from medstyle_gan.losses import l1


class BodyRegion:
    """What outside of the body is left of images, in translations and in losses.

    Without a mask everything is left, and everything counts.

    Args:
        config: its `generator.background` and `loss.region` are used.

    Attributes:
        background: domain → value in [-1, 1] that its images have outside of the body.
    """

    def __init__(self, config: Config) -> None:
        self._clamps = config.generator.background == "clamp"
        self._weighs = config.loss.region == "foreground"
        self.background = {"scan": -1.0, "style": -1.0}

    def translation(self, images: Tensor, domain: str, mask: Tensor | None) -> Tensor:
        """Translations as a whole volume would have them, background included.

        Args:
            images: `(B, C, *spatial)` in [-1, 1], out of a generator.
            domain: that they were translated into.
            mask: bool `(B, 1 or C, *spatial)`, the body of what they were translated from.

        Returns:
            The same shape; no gradient comes from outside the body where it is clamped.
        """
        return self._filled(images, domain, mask) if self._clamps else images

    def shown(self, images: Tensor, domain: str, mask: Tensor | None) -> Tensor:
        """What a discriminator is shown of images, real or not: the body on one background.

        Real images too: noise in the air would tell them from clamped translations.

        Args:
            images: `(B, C, *spatial)` in [-1, 1].
            domain: that they are images of.
            mask: bool `(B, 1 or C, *spatial)`, their body.
        """
        return self._filled(images, domain, mask) if self._clamps or self._weighs else images

    def l1(self, x: Tensor, target: Tensor, mask: Tensor | None) -> Tensor:
        """Mean absolute difference, of the body alone where losses are weighted by it."""
        return l1(x, target, mask if self._weighs else None)

    def _filled(self, images: Tensor, domain: str, mask: Tensor | None) -> Tensor:
        return images if mask is None else torch.where(mask, images, self.background[domain])
