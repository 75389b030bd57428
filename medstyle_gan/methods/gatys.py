"""Neural style transfer by optimising the picture itself (Gatys, Ecker & Bethge 2015, 2016).

The loss is, with F the VGG-19's features of the picture, P those of the content, and G and A the
Gram matrices of the picture and the style,

    loss.perceptual.weight · mean((F − P)²) + loss.style.weight · Σ w_l mean((G_l − A_l)²)
      + loss.total_variation.weight · TV + loss.continuity.weight · continuity,

where G = F Fᵀ / (C·H·W) and each picture's own C, H and W count; w_l are equal and sum to 1 where
`loss.style.layer_weights` does not give them. The defaults are 1 and 1e6. Other conventions:

- The paper has ½ Σ (F − P)² for the content, which is C·H·W / 2 times ours, and for a layer's style
  E_l = Σ (G' − A')² / (4 C²(HW)²) with G' = F Fᵀ, which is C²/4 times ours where content and style
  have one size. So its α and β are α·C·H·W / 2 of the content layer and β here, with
  `loss.style.layer_weights` of w_l·C_l²/4 (C is 64, 128, 256, 512, 512; its w_l are 1/5).
- PyTorch's tutorial takes the same means of the same matrices, but adds the layers up: its style
  weight is five times as large here, or has `loss.style.layer_weights=[1,1,1,1,1]`.
- Tools with sums in place of means have weights that are C·H·W (content) and C² (style) times ours.

The picture has values in [-1, 1], which no term but total variation and continuity notices: the
VGG-19 is given what it was trained on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from medstyle_gan.config import Config
from medstyle_gan.config.loss_section import LossConfig
from medstyle_gan.config.method_section import GatysConfig
from medstyle_gan.errors import UserError
from medstyle_gan.methods.descent import descend
from medstyle_gan.methods.picture_objective import (
    Evaluation,
    FeaturesInTiles,
    Grams,
    PictureObjective,
    Region,
    looked_at,
)
from medstyle_gan.methods.style_transfer import (
    Guidance,
    Iteration,
    StyleReference,
    StyleTransfer,
    TrainedModel,
    shares_of,
)
from medstyle_gan.networks import VGG19Features, adapt_channels
from medstyle_gan.networks.sizes import resized
from medstyle_gan.networks.vgg19 import LAYERS
from medstyle_gan.networks.winograd import winograd_pays

_NOISE = 0.5  # deviation of the picture that `init: noise` begins from, in units of [-1, 1]


@dataclass(frozen=True)
class GatysContent:
    """The content at each scale, coarse to fine: images `(1, C, H, W)` and their features."""

    images: list[Tensor]
    features: list[dict[str, Tensor]]


@dataclass(frozen=True)
class GatysStyle:
    """Styles at each scale, coarse to fine.

    Attributes:
        grams: scale → style → layer → `(C, C)`.
        shares: of the styles; they sum to 1.
        picture: the first style's, for `init: style`.
    """

    grams: list[list[Grams]]
    shares: list[float]
    picture: Tensor


class Gatys(StyleTransfer[GatysContent, GatysStyle, Tensor]):
    """Optimises a picture until its features are the content's and its Gram matrices the style's.

    Args:
        vgg: gives all layers of the loss.
        method: the `method` section.
        loss: the `loss` section; `perceptual` (weight, layers) is the content term, `style`
            (weight, layers, layer_weights), `total_variation` and `continuity` are the others.
        seed: of the noise that `init: noise` begins from.

    Raises:
        UserError: all terms have the weight 0.
    """

    def __init__(
        self, vgg: VGG19Features, method: GatysConfig, loss: LossConfig, seed: int = 0
    ) -> None:
        if not (loss.perceptual.weight or loss.style.weight):
            raise UserError(
                "loss.perceptual.weight (content) and loss.style.weight are both 0, so there is "
                "nothing to transfer; set one above 0"
            )
        self.vgg, self.method, self.loss, self.seed = vgg, method, loss, seed
        self._content_layers, self._style_layers = looked_at(loss)

    @classmethod
    def build(
        cls, config: Config, device: torch.device, model: TrainedModel | None = None
    ) -> Gatys:
        """See `StyleTransfer.build`; it learns nothing, so there is no model."""
        method = config.method
        assert isinstance(method, GatysConfig)
        # With neither weight there is no layer; the class says so.
        vgg = VGG19Features(
            config.vgg.weights,
            cls.layers(config.loss) or ["relu1_1"],
            method.pooling,
            winograd=winograd_pays(device, method.features),
        ).to(device)
        return cls(vgg, method, config.loss, config.training.seed)

    @staticmethod
    def layers(loss: LossConfig) -> tuple[str, ...]:
        """The VGG-19 layers that a loss needs."""
        content, style = looked_at(loss)
        return tuple(dict.fromkeys((*content, *style)))

    @property
    def minimum_size(self) -> int:
        """Shortest side of a picture, given the deepest layer and the scales."""
        return int(self.vgg.minimum_size * 2 ** (self.method.scales - 1))

    def encode_content(self, image: Tensor) -> GatysContent:
        """Features of `(1, C, H, W)` at the content layers, at each scale.

        Raises:
            UserError: the image is too small.
        """
        self._refuse_small(image)
        images = [_reduced(image, factor) for factor in self._factors()]
        features = [self._features(small, self._content_layers).of_whole(small) for small in images]
        return GatysContent(images, features)

    def encode_style(self, styles: Sequence[StyleReference]) -> GatysStyle:
        """Gram matrices of each style at each scale, means over its images.

        Args:
            styles: with weights that do not sum to 0.

        Raises:
            UserError: an image is too small, a mask leaves nothing of it, or the weights sum
                to 0.
        """
        shares = shares_of(styles)
        grams = [
            [self._mean_grams(style, factor) for style in styles] for factor in self._factors()
        ]
        return GatysStyle(grams, shares, styles[0].images[0])

    def transfer(
        self, content: GatysContent, style: GatysStyle, guidance: Guidance | None = None
    ) -> Tensor:
        """Optimise, from the coarsest scale to the finest.

        Args:
            content: what is to be seen.
            style: how it is to look.
            guidance: regions, and where to begin; from a `start` only the finest scale is done,
                as coarser ones would lose what is fine in it.

        Returns:
            `(1, C, H, W)`, not yet clipped to [-1, 1].
        """
        guidance = guidance or Guidance()
        picture: Tensor | None = None
        for scale, objective in enumerate(self.objectives(content, style, guidance)):
            if guidance.start is not None and scale < len(content.images) - 1:
                continue
            image = content.images[scale]
            start = (
                self._start(image, style, guidance)
                if picture is None
                else resized(picture, image.shape[-2:])
            )

            def told(number: int, evaluation: Evaluation, scale: int = scale) -> None:
                guidance.on_iteration(Iteration(scale, number, evaluation.loss, evaluation.parts))

            descent = descend(
                objective,
                start,
                optimizer=self.method.optimizer,
                steps=self.method.steps,
                learning_rate=self.method.learning_rate,
                history=self.method.history,
                tolerance=self.method.tolerance,
                patience=self.method.patience,
                on_iteration=told,
                on_message=guidance.on_message,
            )
            picture = descent.picture
            if descent.ended == "converged" and guidance.start is None:  # not for every slice
                guidance.on_message(
                    f"converged after {len(descent.curve)} of {self.method.steps} iterations"
                )
        assert picture is not None
        return picture

    def objectives(
        self, content: GatysContent, style: GatysStyle, guidance: Guidance | None = None
    ) -> list[PictureObjective]:
        """What `transfer` minimises at each scale, coarse to fine."""
        guidance = guidance or Guidance()
        found = []
        for scale, image in enumerate(content.images):
            size = image.shape[-2:]
            added = guidance.continued
            found.append(
                PictureObjective(
                    self._features(image, (*self._content_layers, *self._style_layers)),
                    self.loss,
                    content.features[scale],
                    self._regions(style, scale, guidance, size),
                    None if added is None else image + resized(added, size),
                )
            )
        return found

    def decode(self, code: Tensor) -> Tensor:
        """Clip the optimised picture to [-1, 1]."""
        return code.clamp(-1, 1)

    def _factors(self) -> list[int]:
        """How much smaller each scale is, coarse to fine."""
        return [2**n for n in reversed(range(self.method.scales))]

    def _features(self, image: Tensor, layers: Sequence[str]) -> FeaturesInTiles:
        height, width = image.shape[-2:]
        bf16 = self.method.features == "bf16"
        return FeaturesInTiles(self.vgg, (height, width), layers, self.method.tile, bf16)

    def _mean_grams(self, style: StyleReference, factor: int) -> Grams:
        masks: Sequence[Tensor | None] = style.masks or [None] * len(style.images)
        sums: Grams = {}
        for image, mask in zip(style.images, masks, strict=True):
            self._refuse_small(image)
            small = _reduced(image, factor)
            weight = None if mask is None else _reduced(mask, factor)
            if weight is not None and not weight.any():
                raise UserError("a style's mask leaves nothing of it; give one that holds some")
            grams = self._features(small, self._style_layers).grams(small, weight)
            for name, gram in grams.items():
                sums[name] = sums[name] + gram[0] if name in sums else gram[0]
        return {name: total / len(style.images) for name, total in sums.items()}

    def _regions(
        self, style: GatysStyle, scale: int, guidance: Guidance, size: Sequence[int]
    ) -> list[Region]:
        grams = style.grams[scale]
        masks: Sequence[Tensor | None] = guidance.regions or [None]
        if len(masks) == 1:
            # Against several targets in one place, Σ sₖ‖G − Aₖ‖² is ‖G − Σ sₖAₖ‖² and a constant.
            blended = {
                name: torch.stack(
                    [share * own[name] for share, own in zip(style.shares, grams, strict=True)]
                ).sum(dim=0)
                for name in self._style_layers
            }
            return [Region(blended, 1.0, _mask_at(masks[0], size))]
        return [
            Region(own, share, _mask_at(mask, size))
            for own, share, mask in zip(grams, style.shares, masks, strict=True)
            # A style whose region is empty here has nothing to say.
            if share and mask is not None and mask.any()
        ]

    def _start(self, image: Tensor, style: GatysStyle, guidance: Guidance) -> Tensor:
        if guidance.start is not None:
            return resized(guidance.start, image.shape[-2:])
        if self.method.init == "content":
            return image.clone()
        if self.method.init == "style":
            return adapt_channels(
                resized(style.picture, image.shape[-2:]), image.shape[1]
            ).contiguous()
        rng = torch.Generator().manual_seed(self.seed)
        return (_NOISE * torch.randn(image.shape, generator=rng)).to(image)

    def _refuse_small(self, image: Tensor) -> None:
        height, width = image.shape[-2:]
        if min(height, width) < self.minimum_size:
            raise UserError(
                f"a picture of {height}x{width} is too small: its shorter side must have "
                f"{self.minimum_size} pixels or more for {self._deepest()} at "
                f"{self.method.scales} scale(s); give a larger one, a larger stylize.size, fewer "
                "method.scales, or shallower loss.perceptual.layers and loss.style.layers"
            )

    def _deepest(self) -> str:
        return f"VGG-19's {max(self.vgg.layers, key=LAYERS.index)}"


def _mask_at(mask: Tensor | None, size: Sequence[int]) -> Tensor | None:
    return None if mask is None else resized(mask, size).clamp(0, 1)


def _reduced(image: Tensor, factor: int) -> Tensor:
    return resized(image, [n // factor for n in image.shape[-2:]])
