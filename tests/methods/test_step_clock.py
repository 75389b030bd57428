from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from medstyle_gan.config import load_config
from medstyle_gan.methods import CycleGAN
from medstyle_gan.methods.step_clock import StepClock
from medstyle_gan.methods.vgg_regularizer import VGGRegularizer, wanted_layers
from medstyle_gan.networks import VGG19Features

CPU = torch.device("cpu")


class Time:
    """Passes only in `Slow`; and who it was spent on."""

    def __init__(self) -> None:
        self.now = 0.0
        self.spent: dict[str, float] = defaultdict(float)

    def __call__(self) -> float:
        return self.now

    def pass_for(self, name: str, seconds: float) -> None:
        self.now += seconds
        self.spent[name] += seconds


class Slow(torch.autograd.Function):
    """Its input; takes time there and, another time, back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, time: Time, name: str, there: float, back: float) -> Tensor:
        time.pass_for(name, there)
        ctx.late = (time, name, back)
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None, None]:
        time, name, back = ctx.late
        time.pass_for(name, back)
        return gradient.clone(), None, None, None, None


def slowed(module: nn.Module, time: Time, name: str, there: float, back: float) -> None:
    forward = module.forward

    def run(*args: Any) -> Any:
        out = forward(*args)
        if isinstance(out, list):
            return [Slow.apply(x, time, name, there, back) for x in out]
        if isinstance(out, dict):
            return {k: Slow.apply(x, time, name, there, back) for k, x in out.items()}
        return Slow.apply(out, time, name, there, back)

    module.forward = run


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["loss.identity.weight=0", "loss.style.target=batch"],
        ["loss.perceptual.weight=0", "loss.style.weight=0"],
        ["loss.adversarial.weight=0", "loss.total_variation.weight=1"],
        ["loss.adversarial.name=wgan_gp"],
    ],
)
def test_each_network_gets_its_own_time_there_and_back(overrides: list[str]) -> None:
    config = load_config(
        None,
        [
            *("generator.ngf=4", "generator.blocks=1", "discriminator.ndf=4"),
            *("discriminator.layers=1", "loss.style.layers=[relu1_1,relu2_1]"),
            *("loss.perceptual.layers=[relu2_1]", "data.sample_size=[32,32]"),
            *overrides,
        ],
    )
    vgg = VGG19Features("random:0", wanted_layers(config.loss))
    grams = {layer: torch.eye(n) for layer, n in (("relu1_1", 64), ("relu2_1", 128))}
    targets = {"scan": grams, "style": grams}
    method = CycleGAN(config, 1, 1, VGGRegularizer(vgg, config.loss, targets))
    time = Time()
    method.step_clock = StepClock(time)
    for network in method.generators.values():
        slowed(network, time, "generators", 1.0, 3.0)
    for network in method.discriminators.values():
        slowed(network, time, "discriminators", 100.0, 300.0)
    slowed(vgg, time, "vgg", 1e4, 3e4)
    optimizers = method.configure_optimizers()
    method.optimizers = lambda: optimizers  # type: ignore[method-assign,assignment]
    method.manual_backward = lambda loss: loss.backward()  # type: ignore[method-assign,assignment]

    method.step_clock.start(CPU)
    batch = {domain: torch.rand(2, 1, 32, 32) for domain in ("scan", "style")}
    method.training_step(batch, 0)
    time.pass_for("rest", 7.0)
    method.step_clock.stop()
    time.now += 1e6  # between the steps

    measured = method.step_clock.seconds()
    assert {name: s for name, s in measured.items() if s} == time.spent
    assert time.spent["generators"] > 0


def test_a_clock_that_does_not_run_notes_nothing() -> None:
    time = Time()
    clock = StepClock(time)
    x = torch.ones(1, requires_grad=True)
    with clock.part("generators"):
        y = Slow.apply(x, time, "generators", 1.0, 1.0)
        clock.backward("generators", [y])
    y.sum().backward()
    assert clock.seconds() == {}


def test_steps_add_up_until_they_are_asked_for() -> None:
    time = Time()
    clock = StepClock(time)
    for _ in range(3):
        clock.start(CPU)
        with clock.part("vgg"):
            time.now += 2.0
        clock.stop()
        time.now += 50.0
    assert clock.seconds() == {"rest": 0.0, "vgg": 6.0}
    assert clock.seconds() == {}


def test_what_cannot_have_a_gradient_is_passed_over() -> None:
    clock = StepClock(Time())
    clock.start(CPU)
    clock.backward("generators", [torch.ones(1)])
    clock.stop()


@pytest.mark.gpu
def test_a_gpus_time_is_its_own_and_not_the_hosts() -> None:
    device = torch.device("cuda", torch.cuda.current_device())
    a = torch.randn(4096, 4096, device=device)
    a @ a
    clock = StepClock()
    clock.start(device)
    with clock.part("generators"):
        for _ in range(20):
            a @ a
    with clock.part("vgg"):
        a @ a
    clock.stop()
    seconds = clock.seconds()
    assert seconds["generators"] > 5 * seconds["vgg"] > 0
