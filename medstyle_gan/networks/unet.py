"""U-Net generator: MONAI's U-Net with a tanh."""

from __future__ import annotations

from monai.networks.nets.unet import UNet
from torch import Tensor, nn

from medstyle_gan.networks.guided_filter import GuidedFilter
from medstyle_gan.networks.initialization import init_weights_
from medstyle_gan.networks.normalization import quicken_norms_
from medstyle_gan.networks.precision import at_least_fp32
from medstyle_gan.networks.sizes import check_sizes


class UNetGenerator(nn.Module):
    """U-Net (Ronneberger et al. 2015) with strided convolutions and instance norm.

    Args:
        in_channels: channels of the input image.
        out_channels: channels of the output image.
        ngf: channels of the first level; doubled at each, up to 8·ngf.
        levels: resolutions, each half of the one before.
        dims: 2 or 3 spatial dimensions.
        guide_radius: of the guided filter that gives the output the input's edges; 0 is none.
        guide_epsilon: its epsilon, see `GuidedFilter`.

    Attributes:
        divisor: spatial sizes must be multiples of this.
        minimum_size: smallest spatial size.
    """

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 1,
        ngf: int = 64,
        levels: int = 4,
        dims: int = 2,
        guide_radius: int = 0,
        guide_epsilon: float = 1e-3,
    ) -> None:
        super().__init__()
        self.guided_filter = (
            GuidedFilter(guide_radius, guide_epsilon, dims) if guide_radius else None
        )
        self.divisor = 2 ** (levels - 1)
        self.minimum_size = 2 * self.divisor  # two voxels at the bottom, to normalise
        self.unet = UNet(
            spatial_dims=dims,
            in_channels=in_channels,
            out_channels=out_channels,
            channels=[ngf * min(2**level, 8) for level in range(levels)],
            strides=[2] * (levels - 1),
            num_res_units=2,
            act=("RELU", {"inplace": True}),
            norm="INSTANCE",
            dropout=0.0,
        )
        quicken_norms_(self)
        init_weights_(self)

    def forward(self, x: Tensor) -> Tensor:
        """Translate `(B, in_channels, *spatial)` in [-1, 1].

        Returns:
            `(B, out_channels, *spatial)` in [-1, 1], in fp32 under autocast too.

        Raises:
            UserError: for sizes that are not multiples of `divisor` or below `minimum_size`.
        """
        check_sizes(x, self.divisor, self.minimum_size)
        translation: Tensor = at_least_fp32(self.unet(x)).tanh()
        return translation if self.guided_filter is None else self.guided_filter(x, translation)
