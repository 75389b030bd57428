"""Initial weights of the trained networks."""

from __future__ import annotations

from torch import nn

_CONVOLUTIONS = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def init_weights_(module: nn.Module, std: float = 0.02) -> nn.Module:
    """Draw every convolution's weights from N(0, std²) and zero its biases, in place.

    This is the initialisation of DCGAN, pix2pix and CycleGAN (Zhu et al. 2017, §7.1).

    Args:
        module: network to initialise; its submodules are visited too.
        std: standard deviation of the weights.

    Returns:
        The same module.
    """
    for child in module.modules():
        if isinstance(child, _CONVOLUTIONS):
            nn.init.normal_(child.weight, 0.0, std)
            if child.bias is not None:
                nn.init.zeros_(child.bias)
    return module
