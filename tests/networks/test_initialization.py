from __future__ import annotations

import pytest
import torch
from torch import nn

from medstyle_gan.networks import init_weights_


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(32, 64, 3),
        nn.Conv3d(16, 32, 3),
        nn.ConvTranspose2d(32, 64, 3),
        nn.ConvTranspose3d(16, 32, 3),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_convolutions_are_drawn_from_the_normal_distribution(layer: nn.Conv2d) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(layer)
    assert init_weights_(network, std=0.02) is network
    weight = layer.weight.detach()
    assert abs(weight.mean().item()) < 0.02 * 4 / weight.numel() ** 0.5
    assert weight.std().item() == pytest.approx(0.02, rel=0.03)
    assert weight.abs().max() > 0.06  # a uniform distribution of this deviation ends at 0.035
    assert layer.bias is not None
    assert not layer.bias.any()


def test_initialisation_follows_the_global_seed() -> None:
    def drawn() -> torch.Tensor:
        torch.manual_seed(3)
        layer = nn.Conv2d(4, 4, 3, bias=False)
        init_weights_(layer)
        return layer.weight

    assert torch.equal(drawn(), drawn())
