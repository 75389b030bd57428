from __future__ import annotations

import piq
import pytest
import torch
from torch import nn

from medstyle_gan.losses import content_distance


@pytest.fixture
def extractor() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 8, 3), nn.ReLU())


def test_it_is_piqs_content_loss_divided_by_the_channels(extractor: nn.Sequential) -> None:
    x, target = torch.rand(2, 3, 3, 12, 14)
    theirs = piq.ContentLoss(
        feature_extractor=extractor, layers=["3"], mean=[0.0] * 3, std=[1.0] * 3
    )(x, target)
    ours = content_distance({"relu": extractor(x)}, {"relu": extractor(target)}, ["relu"])
    torch.testing.assert_close(ours * 8, theirs)


def test_layers_are_averaged_and_others_left_out() -> None:
    features = {"a": torch.ones(1, 2, 3, 3), "b": 3 * torch.ones(1, 4, 2, 2), "c": torch.ones(1)}
    target = {name: torch.zeros_like(tensor) for name, tensor in features.items()}
    assert content_distance(features, target, ["a", "b"]).item() == pytest.approx((1 + 9) / 2)


def test_a_batch_costs_the_mean_of_its_images() -> None:
    torch.manual_seed(0)
    features, target = torch.randn(2, 3, 4, 5, 5)
    alone = [
        content_distance({"a": f[None]}, {"a": t[None]}, ["a"])
        for f, t in zip(features, target, strict=True)
    ]
    together = content_distance({"a": features}, {"a": target}, ["a"])
    torch.testing.assert_close(together, torch.stack(alone).mean())


def test_bfloat16_features_are_compared_in_fp32() -> None:
    torch.manual_seed(0)
    features, target = 30 * torch.rand(2, 1, 8, 32, 32).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        distance = content_distance({"a": features}, {"a": target}, ["a"])
    assert distance.dtype == torch.float32
    expected = (features.double() - target.double()).square().mean().float()
    torch.testing.assert_close(distance, expected)
