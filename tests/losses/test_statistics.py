from __future__ import annotations

import numpy as np
import pytest
import torch

from medstyle_gan.losses import statistics_distance
from medstyle_gan.networks.adain import channel_statistics

LAYERS = ("relu1_1", "relu2_1")


def features(seed: int) -> dict[str, torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    return {n: torch.randn(2, 3 + i, 5, 4, generator=rng) + i for i, n in enumerate(LAYERS)}


@pytest.mark.parametrize("weights", [None, (1.0, 0.25)])
def test_it_is_the_weighted_sum_of_mean_squared_differences(weights) -> None:
    own, style = features(0), features(1)
    expected = 0.0
    for name, weight in zip(LAYERS, weights or (0.5, 0.5), strict=True):
        a, b = own[name].numpy().astype(float), style[name].numpy().astype(float)
        for statistic in (lambda x: x.mean((2, 3)), lambda x: np.sqrt(x.var((2, 3)) + 1e-5)):
            expected += weight * np.mean((statistic(a) - statistic(b)) ** 2)
    target = {name: channel_statistics(f) for name, f in style.items()}
    found = statistics_distance(own, target, LAYERS, weights)
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_it_does_not_ask_where_things_are() -> None:
    own = features(0)
    target = {name: channel_statistics(f.flip(2).roll(1, 3)) for name, f in own.items()}
    assert float(statistics_distance(own, target, LAYERS)) < 1e-12
