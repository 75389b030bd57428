from __future__ import annotations

import pytest
import torch
from torch import nn

from medstyle_gan.methods.ema import GeneratorEMA


def test_average_follows_the_recursion_with_warm_up() -> None:
    net = nn.Linear(2, 2)
    ema = GeneratorEMA({"g": net}, decay=0.9)
    expected = net.weight.detach().clone()
    for update in range(200):
        with torch.no_grad():
            net.weight.normal_()
        ema.update({"g": net})
        decay = min(0.9, (1 + update) / (10 + update))
        expected = decay * expected + (1 - decay) * net.weight.detach()
    torch.testing.assert_close(ema.generators["g"].weight, expected)


def test_average_of_constant_weights_stays_the_weights() -> None:
    net = nn.Conv2d(1, 2, 3)
    ema = GeneratorEMA({"g": net}, decay=0.999)
    for _ in range(5):
        ema.update({"g": net})
    torch.testing.assert_close(ema.generators["g"].weight, net.weight)


def test_decay_zero_follows_exactly() -> None:
    net = nn.Linear(3, 1)
    ema = GeneratorEMA({"g": net}, decay=0.0)
    with torch.no_grad():
        net.weight.add_(1)
    ema.update({"g": net})
    torch.testing.assert_close(ema.generators["g"].weight, net.weight)


def test_copies_take_no_gradient_and_stay_in_evaluation_mode() -> None:
    ema = GeneratorEMA({"g": nn.Linear(1, 1)}, decay=0.5)
    assert not ema.generators["g"].training
    assert not any(p.requires_grad for p in ema.generators["g"].parameters())


def test_buffers_follow_the_trained_network() -> None:
    net = nn.BatchNorm2d(2)
    ema = GeneratorEMA({"g": net}, decay=0.9)
    net(torch.randn(4, 2, 3, 3) + 5)
    ema.update({"g": net})
    running = net.running_mean
    assert running is not None
    assert torch.equal(ema.generators["g"].running_mean, running)


@pytest.mark.parametrize("updates", [0, 7])
def test_state_round_trip(updates: int) -> None:
    net = nn.Linear(2, 1)
    ema = GeneratorEMA({"g": net}, decay=0.99)
    for _ in range(updates):
        with torch.no_grad():
            net.weight.add_(0.1)
        ema.update({"g": net})
    other = GeneratorEMA({"g": nn.Linear(2, 1)}, decay=0.99)
    other.load_state_dict(ema.state_dict())
    assert other.updates == updates
    assert torch.equal(other.generators["g"].weight, ema.generators["g"].weight)


def test_what_networks_share_is_averaged_once() -> None:
    shared = nn.Linear(2, 2)
    pair = {"there": nn.Sequential(shared, nn.Linear(2, 1)), "back": nn.Sequential(shared)}
    ema = GeneratorEMA(pair, decay=0.9)
    expected = shared.weight.detach().clone()
    for update in range(20):
        with torch.no_grad():
            shared.weight.normal_()
        ema.update(pair)
        decay = min(0.9, (1 + update) / (10 + update))
        expected = decay * expected + (1 - decay) * shared.weight.detach()
    assert ema.generators["there"][0] is ema.generators["back"][0]
    torch.testing.assert_close(ema.generators["back"][0].weight, expected)
