"""ResNet generator of Johnson et al. (2016), as in CycleGAN (Zhu et al. 2017), 2-D or 3-D."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from medstyle_gan.networks.attention import SelfAttention
from medstyle_gan.networks.channels import adapt_channels
from medstyle_gan.networks.convolutions import (
    CONV,
    TRANSPOSED_CONV,
    Doubling,
    OutputConv,
    ResizeConv,
)
from medstyle_gan.networks.guided_filter import GuidedFilter
from medstyle_gan.networks.initialization import init_weights_
from medstyle_gan.networks.normalization import INSTANCE_NORM, AdaptiveNorm
from medstyle_gan.networks.padding import ReflectionPad
from medstyle_gan.networks.sizes import check_sizes

Upsampling = Literal["transpose", "resize", "linear"]
FeatureLayer = Literal["input", "halved", "quartered", "first_block", "middle_block"]
"""The image, the two strided convolutions, the first residual block and the middle one."""
FEATURE_LAYERS: tuple[FeatureLayer, ...] = (
    "input",
    "halved",
    "quartered",
    "first_block",
    "middle_block",
)
Code = tuple[Tensor, Tensor]
"""Scale and shift of an instance norm, each `(C,)`."""


class ResidualBlock(nn.Module):
    """x + norm(conv(relu(norm(conv(x))))), reflection-padded, without a last ReLU.

    Args:
        channels: channels of input and output.
        dims: 2 or 3 spatial dimensions.
    """

    def __init__(self, channels: int, dims: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            ReflectionPad(1),
            CONV[dims](channels, channels, 3),
            INSTANCE_NORM[dims](channels),
            nn.ReLU(inplace=True),
            ReflectionPad(1),
            CONV[dims](channels, channels, 3),
            INSTANCE_NORM[dims](channels),
        )

    def forward(self, x: Tensor, *codes: Tensor) -> Tensor:
        """Refine `(B, channels, *spatial)`.

        Args:
            x: features.
            codes: scale and shift of the first norm, then of the second; none leaves both out.
        """
        pairs = iter(zip(codes[::2], codes[1::2], strict=True)) if codes else None
        return x + _through(self.body, x, pairs)


class ResNetGenerator(nn.Module):
    """Two strided convolutions down, residual blocks, two upsamplings, tanh.

    Args:
        in_channels: channels of the input image.
        out_channels: channels of the output image.
        ngf: channels of the first layer; 4·ngf inside the residual blocks.
        blocks: residual blocks (6 for 128² and 9 for 256² in the paper).
        upsampling: `transpose` as in the paper, or `resize` (no checkerboard; its strided
            convolutions are 4 wide, so that the network commutes with flips where its
            kernels are symmetric), or `linear`, which is `resize` with linear doubling (no
            stairs either, for more multiplications).
        dims: 2 or 3 spatial dimensions.
        checkpoint_activations: keep of each residual block only its input, and compute the
            block again when the gradients pass it (Chen et al. 2016): the same gradients in
            less memory, for about a third more time in the blocks.
        residual: the layers tell how far each value goes from the input's towards 1 or -1, in
            place of what it is; see `towards_the_ends`.
        attention: heads of self-attention behind the middle residual block; 0 is none.
        guide_radius: of the guided filter that gives the output the input's edges; 0 is none.
        guide_epsilon: its epsilon, see `GuidedFilter`.

    Attributes:
        divisor: spatial sizes must be multiples of this.
        minimum_size: smallest spatial size.
    """

    divisor: int = 4
    minimum_size: int = 8  # two voxels inside the residual blocks, to reflect and normalise

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 1,
        ngf: int = 64,
        blocks: int = 9,
        upsampling: Upsampling = "resize",
        dims: int = 2,
        checkpoint_activations: bool = False,
        residual: bool = False,
        attention: int = 0,
        guide_radius: int = 0,
        guide_epsilon: float = 1e-3,
    ) -> None:
        super().__init__()
        self.checkpoint_activations = checkpoint_activations
        self.residual = residual
        self.guided_filter = (
            GuidedFilter(guide_radius, guide_epsilon, dims) if guide_radius else None
        )
        self._in_channels, self._ngf = in_channels, ngf
        conv, norm = CONV[dims], INSTANCE_NORM[dims]
        layers: list[nn.Module] = [
            ReflectionPad(3),
            conv(in_channels, ngf, 7),
            norm(ngf),
            nn.ReLU(inplace=True),
        ]
        # Doubling puts a small pixel's centre between two large ones, and only an even kernel
        # halves to that same place: with the papers' 3 every pass down and up would move the
        # image by half a pixel, and nothing in an unpaired training moves it back. The 3-wide
        # transposed convolution has its centre where a 3-wide kernel halves to.
        halving = 3 if upsampling == "transpose" else 4
        for width in (ngf, 2 * ngf):
            layers += [
                conv(width, 2 * width, halving, stride=2, padding=1),
                norm(2 * width),
                nn.ReLU(inplace=True),
            ]
        bottleneck: list[nn.Module] = [ResidualBlock(4 * ngf, dims) for _ in range(blocks)]
        if attention:
            bottleneck.insert(blocks // 2 + 1, SelfAttention(4 * ngf, attention, dims))
        layers += bottleneck
        for width in (4 * ngf, 2 * ngf):
            up: nn.Module
            if upsampling == "transpose":
                up = TRANSPOSED_CONV[dims](
                    width, width // 2, 3, stride=2, padding=1, output_padding=1
                )
            else:
                doubling: Doubling = "linear" if upsampling == "linear" else "nearest"
                up = ResizeConv(width, width // 2, dims, doubling)
            layers += [up, norm(width // 2), nn.ReLU(inplace=True)]
        layers += [ReflectionPad(3), OutputConv(ngf, out_channels, 7, dims), nn.Tanh()]
        self.layers = nn.Sequential(*layers)
        init_weights_(self)

    def instance_codes(self) -> Sequence[Code] | None:
        """What each instance norm scales and shifts by, in the order they are passed; None: not."""
        return None

    def feature_channels(self, names: Sequence[FeatureLayer]) -> dict[str, int]:
        """Channels of the features that `features` gives."""
        ngf = self._ngf
        channels = {"input": self._in_channels, "halved": 2 * ngf}
        return {name: channels.get(name, 4 * ngf) for name in names}

    def features(self, x: Tensor, names: Sequence[FeatureLayer]) -> dict[str, Tensor]:
        """What layers make of images, on the way from the input to the bottleneck.

        Nothing behind the last of them is computed.

        Args:
            x: images `(B, in_channels, *spatial)` in [-1, 1].
            names: which; those of the strided convolutions are before norm and ReLU.

        Returns:
            name → `(B, channels, *spatial)`, half the size at `halved`, a quarter behind it.
        """
        check_sizes(x, self.divisor, self.minimum_size)
        blocks = [i for i, layer in enumerate(self.layers) if isinstance(layer, ResidualBlock)]
        places = {"input": -1, "halved": 4, "quartered": 7}
        places |= {"first_block": blocks[0], "middle_block": blocks[len(blocks) // 2]}
        codes = self.instance_codes()
        given = None if codes is None else iter(codes)
        again = self.checkpoint_activations and torch.is_grad_enabled()
        found = {-1: x}
        for place in range(max(places[name] for name in names) + 1):
            x = _through([self.layers[place]], x, given, again)
            found[place] = x
        return {name: found[places[name]] for name in names}

    def forward(self, x: Tensor) -> Tensor:
        """Translate `(B, in_channels, *spatial)` in [-1, 1].

        Returns:
            `(B, out_channels, *spatial)` in [-1, 1], in fp32 under autocast too.

        Raises:
            UserError: for sizes that are not multiples of `divisor` or below `minimum_size`.
        """
        check_sizes(x, self.divisor, self.minimum_size)
        codes = self.instance_codes()
        again = self.checkpoint_activations and torch.is_grad_enabled()
        made = _through(self.layers, x, None if codes is None else iter(codes), again)
        if self.residual:
            made = towards_the_ends(x, made)
        return made if self.guided_filter is None else self.guided_filter(x, made)


def towards_the_ends(x: Tensor, shares: Tensor) -> Tensor:
    """Move values a share of their way to 1, or where it is negative to -1.

    The whole range can be reached from everywhere and never left, as a sum that is clipped would,
    with no gradient beyond.

    Args:
        x: images `(B, 1 or 3 or C', *spatial)` in [-1, 1].
        shares: `(B, C', *spatial)` in [-1, 1]; 0 leaves a value as it is.

    Returns:
        `(B, C', *spatial)` in [-1, 1].
    """
    start = adapt_channels(x, shares.shape[1]).to(shares.dtype).clamp(-1, 1)
    up, down = shares.relu(), (-shares).relu()
    return start + up * (1 - start) - down * (1 + start)


def _through(
    layers: Iterable[nn.Module], x: Tensor, codes: Iterator[Code] | None, again: bool = False
) -> Tensor:
    """Go through layers, whose norms take the next code each.

    Args:
        layers: one after the other.
        x: features.
        codes: of the norms, those in residual blocks too; None where they take none.
        again: compute residual blocks again in the backward pass.
    """
    for layer in layers:
        if isinstance(layer, ResidualBlock):
            given = () if codes is None else (*next(codes), *next(codes))
            # Nothing in a block is random: no random state to keep for its second pass.
            x = (
                checkpoint(layer, x, *given, use_reentrant=False, preserve_rng_state=False)
                if again
                else layer(x, *given)
            )
        elif codes is not None and isinstance(layer, AdaptiveNorm):
            x = layer(x, *next(codes))
        else:
            x = layer(x)
    return x
