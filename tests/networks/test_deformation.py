from __future__ import annotations

import pytest
import torch

from medstyle_gan.errors import UserError
from medstyle_gan.networks import DeformationNetwork


@pytest.mark.parametrize(
    ("size", "levels"), [((16, 21), 3), ((9, 8), 1), ((8, 10, 9), 2)], ids=["2", "flat", "3"]
)
def test_a_deformation_begins_as_nothing_and_all_of_it_learns(
    size: tuple[int, ...], levels: int
) -> None:
    torch.manual_seed(0)
    network = DeformationNetwork(4, width=4, levels=levels, dims=len(size))
    images = torch.randn(2, 2, 3, *size)[:, 0], torch.randn(2, 1, *size)
    moves = network(*images)
    assert moves.shape == (2, len(size), *size)
    assert 0 < moves.abs().max() < 1e-3
    moves.square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in network.parameters())


def test_displacements_are_single_precision_under_autocast() -> None:
    network = DeformationNetwork(2, width=4, levels=2)
    with torch.autocast("cpu", torch.bfloat16):
        assert network(torch.randn(1, 1, 8, 8), torch.randn(1, 1, 8, 8)).dtype == torch.float32


def test_images_that_are_too_small_are_refused() -> None:
    small = torch.zeros(1, 1, 8, 7)
    with pytest.raises(UserError, match=r"8x7.*at least 8"):
        DeformationNetwork(2, levels=3)(small, small)
