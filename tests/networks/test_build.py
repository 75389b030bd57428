from __future__ import annotations

import pytest
import torch

from medstyle_gan.config.network_sections import (
    PatchGANConfig,
    ResNetGeneratorConfig,
    SwitchableGeneratorConfig,
    UNetGeneratorConfig,
)
from medstyle_gan.networks import (
    DISCRIMINATORS,
    GENERATORS,
    build_discriminator,
    build_generator,
)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize(
    "config",
    [
        ResNetGeneratorConfig(ngf=2, blocks=1),
        ResNetGeneratorConfig(ngf=2, blocks=2, upsampling="transpose"),
        UNetGeneratorConfig(ngf=2, levels=3),
    ],
    ids=["resnet-resize", "resnet-transpose", "unet"],
)
def test_a_generator_is_built_from_its_section(
    config: ResNetGeneratorConfig | UNetGeneratorConfig, dims: int
) -> None:
    generator = build_generator(config, 1, 3, dims)
    assert isinstance(generator, GENERATORS[config.name])
    size = generator.divisor * 4
    assert generator(torch.rand(1, 1, *[size] * dims)).shape == (1, 3, *[size] * dims)


def test_every_setting_reaches_the_networks() -> None:
    config = ResNetGeneratorConfig(ngf=6, blocks=3, upsampling="transpose")
    state = build_generator(config, 1, 1).state_dict()
    widths = {tensor.shape[0] for tensor in state.values() if tensor.ndim == 4}
    assert widths == {6, 12, 24, 1}
    assert len(state) == 2 * (1 + 2 + 2 * 3 + 2 + 1)

    judge = PatchGANConfig(ndf=2, layers=1, scales=3, spectral_norm=True)
    discriminator = build_discriminator(judge, 3)
    assert isinstance(discriminator, DISCRIMINATORS["patchgan"])
    assert len(discriminator(torch.rand(1, 3, 32, 32))) == 3
    assert any("parametrizations" in name for name in discriminator.state_dict())


def test_the_registries_hold_what_the_config_offers() -> None:
    offered = (ResNetGeneratorConfig(), UNetGeneratorConfig(), SwitchableGeneratorConfig())
    assert set(GENERATORS) == {config.name for config in offered}
    assert set(DISCRIMINATORS) == {PatchGANConfig().name}
