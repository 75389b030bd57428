"""The one rule by which grey becomes colour and colour becomes grey."""

from __future__ import annotations

from torch import Tensor

# ITU-R BT.601 luma, the weights of every common RGB-to-grey conversion (PIL, OpenCV).
LUMINANCE = (0.299, 0.587, 0.114)


def middle_slice(x: Tensor, slices: int) -> Tensor:
    """The middle one of neighbouring slices that are an image's channels.

    Args:
        x: images `(B, slices · C, *spatial)`, the channels of each slice side by side.
        slices: how many, an odd number; 1 for an image that is no stack.

    Returns:
        `(B, C, *spatial)`, a view; an image that is no stack itself.
    """
    if slices == 1:
        return x
    channels = x.shape[1] // slices
    return x.narrow(1, slices // 2 * channels, channels)


def adapt_channels(x: Tensor, channels: int) -> Tensor:
    """Give an image batch the wanted number of channels.

    Args:
        x: images `(B, C, *spatial)` with C 1 or 3, in any affine range such as [-1, 1].
        channels: 1 or 3.

    Returns:
        `(B, channels, *spatial)`: `x` itself where C already fits, its repetition for
        1 → 3 (a view without memory of its own), its BT.601 luminance for 3 → 1.

    Raises:
        ValueError: for any other number of channels.
    """
    present = x.shape[1]
    if present == channels:
        return x
    if (present, channels) == (1, 3):
        return x.expand(-1, 3, *x.shape[2:])
    if (present, channels) == (3, 1):
        red, green, blue = LUMINANCE
        return red * x[:, 0:1] + green * x[:, 1:2] + blue * x[:, 2:3]
    raise ValueError(f"cannot turn {present} channels into {channels}: only 1 and 3 are known")
