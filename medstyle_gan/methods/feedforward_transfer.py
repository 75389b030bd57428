"""The style of a trained network on an image, in one pass (Johnson et al. 2016)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from medstyle_gan.config import Config
from medstyle_gan.errors import UserError
from medstyle_gan.methods.style_transfer import (
    Guidance,
    StyleReference,
    StyleTransfer,
    TrainedModel,
)
from medstyle_gan.networks import adapt_channels, build_generator, load_trained_weights
from medstyle_gan.networks.padding import pad_to_multiple
from medstyle_gan.networks.precision import Precision, resolve_precision
from medstyle_gan.networks.winograd import with_fewer_multiplications


@dataclass(frozen=True)
class PaddedImage:
    """An image in a size that a network takes, and where in it the image lies."""

    image: Tensor
    inside: tuple[slice, slice]


class FeedForwardTransfer(StyleTransfer[PaddedImage, None, PaddedImage]):
    """Sends images through a network that has learned one style.

    Args:
        generator: the network, in evaluation mode, with its `divisor` and `minimum_size`.
        in_channels: that it takes.
        out_channels: that it gives.
        precision: its arithmetic.
    """

    learned = True
    takes_style = False

    def __init__(
        self,
        generator: nn.Module,
        in_channels: int,
        out_channels: int,
        precision: Precision = "fp32",
    ) -> None:
        self.generator, self.precision = generator, precision
        self.in_channels, self.channels = in_channels, out_channels

    @classmethod
    def build(
        cls, config: Config, device: torch.device, model: TrainedModel | None
    ) -> FeedForwardTransfer:
        """See `StyleTransfer.build`.

        Raises:
            UserError: the model's network is for samples that are no single slices, or its
                weights do not fit.
        """
        assert model is not None
        dims = model.config.data.dims
        if dims != 2:
            raise UserError(
                f"--model: was trained with data.dims={dims:g}, and stylize goes slice by slice; "
                "use medstyle translate, which sends volumes through it"
            )
        taken, given = model.channels["scan"], model.channels["style"]
        with torch.random.fork_rng(devices=[]):  # initial weights are drawn
            generator = build_generator(model.config.generator, taken, given)
        load_trained_weights(generator, model.generator_state("scan_to_style"), "scan_to_style")
        precision = resolve_precision("auto", device)
        quick = with_fewer_multiplications(generator.to(device), device, precision)
        return cls(quick, taken, given, precision)

    @property
    def minimum_size(self) -> int:
        """Shortest side that can be filled up to what the network takes (pixels)."""
        return max(int(self.generator.minimum_size), int(self.generator.divisor))  # type: ignore[arg-type]

    def encode_content(self, image: Tensor) -> PaddedImage:
        """The image itself, in the network's channels and filled up to its sizes.

        Raises:
            UserError: the image is too small.
        """
        height, width = image.shape[-2:]
        if min(height, width) < self.minimum_size:
            raise UserError(
                f"a picture of {height}x{width} is too small: its shorter side must have "
                f"{self.minimum_size} pixels or more for the model's network; give a larger one, "
                "or a larger stylize.size"
            )
        divisor = int(self.generator.divisor)  # type: ignore[arg-type]  # typed as any submodule
        return PaddedImage(*pad_to_multiple(adapt_channels(image, self.in_channels), divisor))

    def encode_style(self, styles: Sequence[StyleReference]) -> None:
        """Nothing: the style is in the weights."""

    @torch.no_grad()
    def transfer(
        self, content: PaddedImage, style: None, guidance: Guidance | None = None
    ) -> PaddedImage:
        """One pass of the network, over the whole image; it knows nothing of regions."""
        image = content.image
        with torch.autocast(image.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            return PaddedImage(self.generator(image).float(), content.inside)

    def decode(self, code: PaddedImage) -> Tensor:
        """The image in its own size, clipped to [-1, 1]."""
        rows, columns = code.inside
        return code.image[..., rows, columns].clamp(-1, 1)
