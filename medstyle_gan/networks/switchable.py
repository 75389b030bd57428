"""One ResNet for both directions, switched by AdaIN codes, 2-D or 3-D.

Gu and Ye 2021, "AdaIN-based tunable CycleGAN for efficient unsupervised low-dose CT denoising", and
Yang et al. 2021, "Continuous conversion of CT kernel using switchable CycleGAN with AdaIN": all
convolutions serve both directions; what differs are the scale and shift after each instance norm,
which a small generator of codes makes. Gu and Ye give a code to one direction, the other has plain
instance norms; here each direction has one, as each kernel of Yang et al. has, because neither of
our directions is the main one. Their network is a U-Net; ours is CycleGAN's ResNet.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from medstyle_gan.errors import UserError
from medstyle_gan.networks.normalization import AdaptiveNorm
from medstyle_gan.networks.resnet import Code, ResNetGenerator, Upsampling


class CodeGenerator(nn.Module):
    """Makes a scale and a shift for every norm of a network out of a few learned numbers.

    Without the two layers behind the numbers, and their weights that all move at each step, Adam's
    steps of a learning rate each would take thousands to change a scale.

    Args:
        widths: channels of each norm.
        size: how many numbers.
    """

    def __init__(self, widths: Sequence[int], size: int) -> None:
        super().__init__()
        self.widths = list(widths)
        self.latent = nn.Parameter(torch.randn(size))
        self.hidden = nn.Linear(size, size)
        self.to_codes = nn.Linear(size, 2 * sum(widths))
        # Close to plain instance norms at first, but other ones in each direction.
        nn.init.normal_(self.to_codes.weight, 0.0, 0.02)
        nn.init.zeros_(self.to_codes.bias)

    def forward(self) -> list[Code]:
        """Each norm's scale (around 1 at first) and shift (around 0), in fp32 under autocast."""
        with torch.autocast(self.latent.device.type, enabled=False):
            made: Tensor = self.to_codes(self.hidden(self.latent).relu())
            scales, shifts = (1 + made[: sum(self.widths)], made[sum(self.widths) :])
        return list(zip(scales.split(self.widths), shifts.split(self.widths), strict=True))


class SwitchableGenerator(ResNetGenerator):
    """One direction of a ResNet whose layers the other direction uses too.

    Args:
        in_channels: channels of the input image.
        out_channels: as many.
        ngf: see `ResNetGenerator`, as all of these.
        blocks: residual blocks.
        upsampling: `transpose`, `resize` or `linear`.
        dims: 2 or 3 spatial dimensions.
        checkpoint_activations: keep less for the backward pass.
        code_size: numbers that this direction's codes are made of.
        residual: see `ResNetGenerator`.
        attention: likewise; both directions share it.
        guide_radius: likewise.
        guide_epsilon: likewise.

    Attributes:
        layers: shared with the other direction.
        codes: this direction's own.

    Raises:
        UserError: where input and output have different channels.
    """

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 1,
        ngf: int = 64,
        blocks: int = 9,
        upsampling: Upsampling = "resize",
        dims: int = 2,
        checkpoint_activations: bool = False,
        code_size: int = 32,
        residual: bool = False,
        attention: int = 0,
        guide_radius: int = 0,
        guide_epsilon: float = 1e-3,
    ) -> None:
        if in_channels != out_channels:
            raise UserError(
                "generator.name=switchable: one network translates both ways, so that scans and "
                f"style images need as many channels, not {in_channels} and {out_channels}; set "
                "generator.name=resnet, or give two grey or two colour collections"
            )
        super().__init__(
            *(in_channels, out_channels, ngf, blocks, upsampling, dims),
            *(checkpoint_activations, residual, attention, guide_radius, guide_epsilon),
        )
        self._code_size = code_size
        self.codes = self._new_codes()

    def instance_codes(self) -> Sequence[Code]:
        """This direction's scale and shift of each norm."""
        codes: list[Code] = self.codes()
        return codes

    def reversed(self) -> SwitchableGenerator:
        """The other direction: the same layers, and codes of its own."""
        other = copy.deepcopy(self, {id(self.layers): self.layers})
        other.codes = other._new_codes()
        return other

    def _new_codes(self) -> CodeGenerator:
        norms = (m for m in self.layers.modules() if isinstance(m, AdaptiveNorm))
        return CodeGenerator([m.num_features for m in norms], self._code_size)
