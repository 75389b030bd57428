"""From VGG-19 features back to an image (Huang & Belongie 2017): the encoder's mirror image."""

from __future__ import annotations

from torch import Tensor, nn

from medstyle_gan.networks.convolutions import OutputConv, ResizeConv
from medstyle_gan.networks.padding import ReflectionPad

# What it decodes, and that layer's channels and pixels a position.
CODE_LAYER = "relu4_1"
_CHANNELS, _STRIDE = 512, 8


class AdaINDecoder(nn.Module):
    """VGG-19 up to relu4_1 backwards: nearest doubling for pooling, reflection padding, no norms.

    Norms would take away the statistics that AdaIN gave. Doubling and the convolution after it
    are one `ResizeConv`.

    Args:
        out_channels: channels of the image.
        width: channels of the last layers, 64 as the encoder's first have; four times as many
            behind the code.

    Attributes:
        divisor: sizes of images that come back as large as they were are multiples of this.
        minimum_size: of an image whose code has more than one position.
    """

    divisor: int = _STRIDE
    minimum_size: int = 2 * _STRIDE

    def __init__(self, out_channels: int = 3, width: int = 64) -> None:
        super().__init__()
        layers: list[nn.Module] = [*_block(_CHANNELS, 4 * width)]
        layers += [*_doubled(4 * width)]
        for _ in range(2):
            layers += _block(4 * width, 4 * width)
        layers += _block(4 * width, 2 * width)
        layers += [*_doubled(2 * width), *_block(2 * width, width)]
        layers += [*_doubled(width), ReflectionPad(1), OutputConv(width, out_channels, 3)]
        self.layers = nn.Sequential(*layers)

    def forward(self, code: Tensor) -> Tensor:
        """Decode `(B, 512, h, w)`, no side below 2.

        Returns:
            `(B, out_channels, 8·h, 8·w)`, meant for [-1, 1] but not bound to it, in fp32 under
            autocast too.
        """
        image: Tensor = self.layers(code)
        return image


def _block(taken: int, given: int) -> list[nn.Module]:
    return [ReflectionPad(1), nn.Conv2d(taken, given, 3), nn.ReLU(inplace=True)]


def _doubled(channels: int) -> list[nn.Module]:
    return [ResizeConv(channels, channels), nn.ReLU(inplace=True)]
