"""PatchGAN discriminator (Isola et al. 2017), built from MONAI's, at one or more scales."""

from __future__ import annotations

import torch.nn.functional as F
from monai.networks.nets.patchgan_discriminator import PatchDiscriminator
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm as normalize_spectrum

from medstyle_gan.networks.initialization import init_weights_
from medstyle_gan.networks.normalization import quicken_norms_
from medstyle_gan.networks.sizes import check_sizes


class PatchGANDiscriminator(nn.Module):
    """A score for every patch of an image; 1, 2 or 3 layers see 16, 34 or 70 pixels.

    Args:
        in_channels: channels of the image.
        ndf: channels of the first layer.
        layers: strided layers.
        scales: discriminators, each seeing the image at half the size of the one before.
        spectral_norm: divide every convolution by its spectral norm (Miyato et al. 2018).
        dims: 2 or 3 spatial dimensions.

    Attributes:
        minimum_size: smallest spatial size; there the coarsest scale gives one score.
    """

    def __init__(
        self,
        in_channels: int = 1,
        ndf: int = 64,
        layers: int = 3,
        scales: int = 1,
        spectral_norm: bool = False,
        dims: int = 2,
    ) -> None:
        super().__init__()
        self.dims = dims
        self.minimum_size = 3 * 2**layers
        for _ in range(scales - 1):  # pooling halves, rounding up
            self.minimum_size = 2 * self.minimum_size - 1
        self.scales = nn.ModuleList(
            PatchDiscriminator(
                spatial_dims=dims,
                channels=ndf,
                in_channels=in_channels,
                num_layers_d=layers,
                norm="INSTANCE",
                bias=True,
            )
            for _ in range(scales)
        )
        quicken_norms_(self)
        init_weights_(self)
        if spectral_norm:
            for child in list(self.modules()):
                if isinstance(child, nn.Conv2d | nn.Conv3d):
                    normalize_spectrum(child)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Score images `(B, in_channels, *spatial)`.

        Returns:
            One map of raw scores `(B, 1, *patches)` for each scale, finest first.

        Raises:
            UserError: for images below `minimum_size`.
        """
        check_sizes(x, minimum=self.minimum_size)
        pool = F.avg_pool2d if self.dims == 2 else F.avg_pool3d
        scores = []
        for index, discriminator in enumerate(self.scales):
            if index:
                x = pool(x, kernel_size=3, stride=2, padding=1, count_include_pad=False)
            scores.append(discriminator(x)[-1])
        return scores
