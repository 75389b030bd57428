"""Any style on an image by AdaIN and a trained decoder (Huang & Belongie 2017).

Several styles are blended by weight, Σ w_k AdaIN(c, s_k), and regions have styles of their own:
AdaIN is done in each region apart, with the content's statistics of that region (their §7.3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from medstyle_gan.config import Config
from medstyle_gan.config.method_section import AdainConfig
from medstyle_gan.errors import UserError
from medstyle_gan.methods.adain import AdaIN, decoder_channels
from medstyle_gan.methods.style_transfer import (
    Guidance,
    StyleReference,
    StyleTransfer,
    TrainedModel,
    shares_of,
)
from medstyle_gan.networks import AdaINDecoder, VGG19Features, load_trained_weights
from medstyle_gan.networks.adain import EPS, Statistics, adain, channel_statistics
from medstyle_gan.networks.adain_decoder import CODE_LAYER
from medstyle_gan.networks.padding import pad_to_multiple
from medstyle_gan.networks.precision import Precision, resolve_precision
from medstyle_gan.networks.winograd import winograd_pays


@dataclass(frozen=True)
class AdaINCode:
    """Features at relu4_1, of an image filled up to sizes that come back whole.

    Attributes:
        features: `(1, 512, h, w)`.
        size: (H, W) of what they are features of.
        inside: where in it the image lies.
    """

    features: Tensor
    size: tuple[int, int]
    inside: tuple[slice, slice]


@dataclass(frozen=True)
class AdaINStyle:
    """The statistics of each style, and their shares, which sum to 1."""

    statistics: list[Statistics]
    shares: list[float]


class AdaINTransfer(StyleTransfer[AdaINCode, AdaINStyle, AdaINCode]):
    """Gives an image's features the statistics of others', and decodes them.

    Args:
        vgg: gives relu4_1.
        decoder: trained with it, in evaluation mode.
        channels: of what the decoder gives.
        alpha: how much of the style, in [0, 1]: 0 decodes the content's own features.
        precision: arithmetic of both networks; statistics are always fp32.
    """

    learned = True

    def __init__(
        self,
        vgg: VGG19Features,
        decoder: AdaINDecoder,
        channels: int,
        alpha: float = 1.0,
        precision: Precision = "fp32",
    ) -> None:
        self.vgg, self.decoder, self.alpha, self.precision = vgg, decoder, alpha, precision
        self.channels = channels

    @classmethod
    def build(
        cls, config: Config, device: torch.device, model: TrainedModel | None
    ) -> AdaINTransfer:
        """See `StyleTransfer.build`.

        Raises:
            UserError: the VGG-19's weights cannot be had or are not those of the training, or
                the decoder's do not fit.
        """
        assert model is not None
        own, asked = model.config.method, config.method
        assert isinstance(own, AdainConfig)
        assert isinstance(asked, AdainConfig)
        precision = resolve_precision("auto", device)
        # All layers of the training, so that its weights can be told from others.
        vgg = VGG19Features(
            config.vgg.weights,
            AdaIN.layers(model.config.loss),
            winograd=winograd_pays(device, precision),
        )
        if model.vgg is not None and vgg.identity() != model.vgg:
            raise UserError(
                f"vgg.weights={config.vgg.weights}: the model's decoder was trained with other "
                "VGG-19 weights and knows only those; give them with vgg.weights"
            )
        channels = decoder_channels(model.channels)
        with torch.random.fork_rng(devices=[]):  # initial weights are drawn
            decoder = AdaINDecoder(channels, own.width)
        load_trained_weights(decoder, model.generator_state("decoder"), "decoder")
        return cls(vgg.to(device), decoder.to(device), channels, asked.alpha, precision)

    @property
    def minimum_size(self) -> int:
        """Shortest side of an image whose code has a deviation (pixels)."""
        return self.decoder.minimum_size

    def encode_content(self, image: Tensor) -> AdaINCode:
        """Features of `(1, C, H, W)` at relu4_1.

        Raises:
            UserError: the image is too small.
        """
        self._refuse_small(image)
        padded, inside = pad_to_multiple(image, self.decoder.divisor)
        size = (int(padded.shape[2]), int(padded.shape[3]))
        return AdaINCode(self._features(padded), size, inside)

    def encode_style(self, styles: Sequence[StyleReference]) -> AdaINStyle:
        """Each style's statistics at relu4_1, of all its images together.

        Args:
            styles: with weights that do not sum to 0.

        Raises:
            UserError: an image is too small, a mask leaves nothing of it, or the weights sum
                to 0.
        """
        shares = shares_of(styles)
        return AdaINStyle([self._statistics(style) for style in styles], shares)

    def transfer(
        self, content: AdaINCode, style: AdaINStyle, guidance: Guidance | None = None
    ) -> AdaINCode:
        """AdaIN, then `alpha` of it mixed with the content's own features.

        Args:
            content: what is to be seen.
            style: how it is to look.
            guidance: with one region, the blend of the styles goes there; with one a style,
                each style goes to its own, the less of it the smaller its share beside the
                largest, and where regions overlap they share. Elsewhere features stay.
        """
        regions = (guidance or Guidance()).regions
        features = content.features
        if regions is None:
            target = adain(features, _blend(style))
        else:
            masks = [self._mask_at(region, content) for region in regions]
            if len(masks) == 1:
                parts = [(masks[0], 1.0, _blend(style))]
            else:
                largest = max(style.shares)
                parts = [
                    (mask, share / largest, own)
                    for mask, share, own in zip(masks, style.shares, style.statistics, strict=True)
                ]
            target = _in_regions(features, parts)
        mixed = torch.lerp(features, target, self.alpha)
        return AdaINCode(mixed, content.size, content.inside)

    @torch.no_grad()
    def decode(self, code: AdaINCode) -> Tensor:
        """The decoder's image in the content's size, clipped to [-1, 1]."""
        features, (rows, columns) = code.features, code.inside
        bf16 = self.precision == "bf16"
        with torch.autocast(features.device.type, torch.bfloat16, enabled=bf16):
            image = self.decoder(features).float()
        return image[..., rows, columns].clamp(-1, 1)

    @torch.no_grad()
    def _features(self, image: Tensor) -> Tensor:
        bf16 = self.precision == "bf16"
        with torch.autocast(image.device.type, torch.bfloat16, enabled=bf16):
            return self.vgg(image, (CODE_LAYER,))[CODE_LAYER].float()

    def _statistics(self, style: StyleReference) -> Statistics:
        """Of all positions of all images, each image counting alike."""
        masks: Sequence[Tensor | None] = style.masks or [None] * len(style.images)
        means, squares = [], []
        for image, mask in zip(style.images, masks, strict=True):
            self._refuse_small(image)
            features = self._features(image)
            weights = None
            if mask is not None:
                weights = F.adaptive_avg_pool2d(mask, (features.shape[2], features.shape[3]))
                if not weights.any():
                    raise UserError("a style's mask leaves nothing of it; give one that holds some")
            own = channel_statistics(features, weights)
            means.append(own.mean)
            squares.append(own.deviation.square() - EPS + own.mean.square())
        mean = torch.stack(means).mean(dim=0)
        variance = (torch.stack(squares).mean(dim=0) - mean.square()).clamp_min(0)
        return Statistics(mean, (variance + EPS).sqrt())

    def _mask_at(self, region: Tensor, content: AdaINCode) -> Tensor:
        """How much of each position of the code lies in a region."""
        rows, columns = content.inside
        whole = region.new_zeros(1, 1, *content.size)
        whole[..., rows, columns] = region
        return F.avg_pool2d(whole, self.decoder.divisor).clamp(0, 1)

    def _refuse_small(self, image: Tensor) -> None:
        height, width = image.shape[-2:]
        if min(height, width) < self.minimum_size:
            raise UserError(
                f"a picture of {height}x{width} is too small: its shorter side must have "
                f"{self.minimum_size} pixels or more for AdaIN at VGG-19's {CODE_LAYER}; give a "
                "larger one, or a larger stylize.size"
            )


def _blend(style: AdaINStyle) -> Statistics:
    """The statistics by which AdaIN is the weighted sum over the styles; it is linear in them."""
    return Statistics(
        *(
            torch.stack(
                [share * part for share, part in zip(style.shares, parts, strict=True)]
            ).sum(dim=0)
            for parts in zip(*style.statistics, strict=True)
        )
    )


def _in_regions(features: Tensor, parts: Sequence[tuple[Tensor, float, Statistics]]) -> Tensor:
    """The features with each region's own style.

    Args:
        features: `(1, C, h, w)`.
        parts: region `(1, 1, h, w)`, strength in [0, 1] and style.
    """
    total = torch.stack([mask for mask, _, _ in parts]).sum(dim=0).clamp_min(1)
    result = features
    for mask, strength, statistics in parts:
        if strength and mask.any():  # a region may have nothing in this slice
            change = adain(features, statistics, mask) - features
            result = result + strength * mask / total * change
    return result
