"""Generators, discriminators and the frozen VGG-19: plain torch modules, 2-D and 3-D."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn

from medstyle_gan.networks.adain_decoder import AdaINDecoder
from medstyle_gan.networks.channels import adapt_channels, middle_slice
from medstyle_gan.networks.deformation import DeformationNetwork
from medstyle_gan.networks.initialization import init_weights_
from medstyle_gan.networks.parameters import parameters_of
from medstyle_gan.networks.patchgan import PatchGANDiscriminator
from medstyle_gan.networks.projection import ProjectionHeads
from medstyle_gan.networks.resnet import ResNetGenerator
from medstyle_gan.networks.restoring import load_trained_weights
from medstyle_gan.networks.switchable import SwitchableGenerator
from medstyle_gan.networks.unet import UNetGenerator
from medstyle_gan.networks.vgg19 import VGG19Features

if TYPE_CHECKING:
    from medstyle_gan.config.network_sections import GeneratorConfig, PatchGANConfig

GENERATORS: dict[str, Any] = {
    "resnet": ResNetGenerator,
    "unet": UNetGenerator,
    "switchable": SwitchableGenerator,
}
DISCRIMINATORS: dict[str, Any] = {"patchgan": PatchGANDiscriminator}

__all__ = [
    "DISCRIMINATORS",
    "GENERATORS",
    "AdaINDecoder",
    "DeformationNetwork",
    "PatchGANDiscriminator",
    "ProjectionHeads",
    "ResNetGenerator",
    "SwitchableGenerator",
    "UNetGenerator",
    "VGG19Features",
    "adapt_channels",
    "build_discriminator",
    "build_generator",
    "build_generators",
    "init_weights_",
    "load_trained_weights",
    "middle_slice",
    "parameters_of",
]


def build_generator(
    config: GeneratorConfig,
    in_channels: int,
    out_channels: int,
    dims: int = 2,
) -> nn.Module:
    """Build the generator that `config.name` names; its fields are the class's arguments.

    Args:
        config: the `generator` section.
        in_channels: channels of the input image.
        out_channels: channels of the output image.
        dims: 2 or 3 spatial dimensions.

    Returns:
        A module from `(B, in_channels, *spatial)` to `(B, out_channels, *spatial)` in
        [-1, 1]; spatial sizes must be multiples of its `divisor`.
    """
    settings = config.model_dump(exclude={"name", "background"})  # that is the method's
    return GENERATORS[config.name](in_channels, out_channels, dims=dims, **settings)


def build_generators(
    config: GeneratorConfig, in_channels: int, out_channels: int, dims: int = 2
) -> tuple[nn.Module, nn.Module]:
    """Build the generators of both directions.

    Args:
        config: the `generator` section.
        in_channels: channels of the first one's input, and of the second one's output.
        out_channels: channels of the first one's output, and of the second one's input.
        dims: 2 or 3 spatial dimensions.

    Returns:
        There and back. Switchable ones share their layers; others have nothing in common.

    Raises:
        UserError: for channels that one network cannot translate both ways.
    """
    there = build_generator(config, in_channels, out_channels, dims)
    if isinstance(there, SwitchableGenerator):
        return there, there.reversed()
    return there, build_generator(config, out_channels, in_channels, dims)


def build_discriminator(config: PatchGANConfig, in_channels: int, dims: int = 2) -> nn.Module:
    """Build the discriminator that `config.name` names; its fields are the class's arguments.

    Args:
        config: the `discriminator` section, less `augmentation`.
        in_channels: channels of the images that it judges.
        dims: 2 or 3 spatial dimensions.

    Returns:
        A module from `(B, in_channels, *spatial)` to a list of score maps, one a scale.
    """
    settings = config.model_dump(exclude={"name", "augmentation"})  # of what it is shown
    return DISCRIMINATORS[config.name](in_channels, dims=dims, **settings)
