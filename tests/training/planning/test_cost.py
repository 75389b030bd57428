from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from medstyle_gan.config import load_config
from medstyle_gan.methods import CycleGAN
from medstyle_gan.networks.convolutions import OutputConv, ResizeConv
from medstyle_gan.training.planning.cost import step_cost

SMALL = ["generator.ngf=8", "generator.blocks=2", "discriminator.ndf=8", "vgg.weights=random:0"]
GREY = {"scan": 1, "style": 1}


def forward_operations(network: nn.Module, image: torch.Tensor) -> int:
    """Two for each product of a convolution's weights, by the positions that it is put at."""
    total = 0

    def count(module: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        nonlocal total
        dims = inputs[0].dim() - 2
        if isinstance(module, ResizeConv):  # at each pixel of the small image, padded by 1
            taps = math.prod(module.conv.weight.shape[:2]) * module.width**dims
            places = math.prod(side + 2 for side in inputs[0].shape[2:])
        elif isinstance(module, OutputConv):  # all of the first axis, before rows are summed
            taps = module.conv.weight.numel()
            places = inputs[0].shape[2] * math.prod(output.shape[3:])
        else:
            assert isinstance(module.weight, torch.Tensor)
            taps, places = module.weight.numel(), math.prod(output.shape[2:])
        total += 2 * taps * places * len(output)

    kinds = nn.Conv2d | nn.Conv3d | ResizeConv | OutputConv
    hooks = [m.register_forward_hook(count) for m in network.modules() if isinstance(m, kinds)]  # type: ignore[arg-type]
    with torch.no_grad():
        network(image)
    for hook in hooks:
        hook.remove()
    return total


@pytest.mark.parametrize(
    "more",
    [
        ["data.sample_size=[32,48]"],
        [
            "data.dims=3",
            "data.spacing=[1,1,1]",
            "data.sample_size=[16,16,24]",
            "discriminator.layers=1",
        ],
    ],
)
def test_operations_are_those_of_the_passes_of_a_step(more: list[str]) -> None:
    config = load_config(None, [*SMALL, *more])
    method = CycleGAN(config)
    image = torch.zeros(1, 1, *config.data.sample_size)
    generator = forward_operations(method.scan_to_style, image)
    discriminator = forward_operations(method.style_discriminator, image)
    # Each direction: translation, identity, reconstruction; forward, and backward twice that.
    # Discriminators: a real and a past image likewise, and a translation without their own
    # weights' gradient. First layers need no gradient of their images: a little less.
    whole = 2 * (3 * 3 * generator + (2 * 3 + 2) * discriminator)
    assert step_cost(config, GREY, "fp32").operations == pytest.approx(whole, rel=0.06)


def test_the_vgg_is_counted_apart_and_parts_of_a_batch_add_up() -> None:
    size = ["data.sample_size=[32,32]"]
    one = step_cost(load_config(None, [*SMALL, *size]), GREY, "fp32")
    assert one.vgg_operations > one.operations  # these generators are tiny
    assert one.mean_operations(4) == one.operations + one.vgg_operations / 4
    none = [f"loss.{term}=0" for term in ("perceptual.weight", "perceptual.reconstruction_weight")]
    plain = step_cost(
        load_config(None, [*SMALL, *size, *none, "loss.style.weight=0"]), GREY, "fp32"
    )
    assert plain.vgg_operations == 0
    assert plain.operations == one.operations
    two = step_cost(load_config(None, [*SMALL, *size, "training.accumulate=2"]), GREY, "fp32")
    assert two.operations == 2 * one.operations
    assert two.memory == one.memory


@pytest.mark.parametrize(
    "penalty",
    ["loss.adversarial.zero_centred_penalty.weight=1", "loss.adversarial.name=wgan_gp"],
)
def test_penalties_are_left_out(penalty: str) -> None:
    small = [*SMALL, "data.sample_size=[32,32]", "loss.perceptual.weight=0"]
    small += ["loss.perceptual.reconstruction_weight=0", "loss.style.weight=0"]
    plain = step_cost(load_config(None, small), GREY, "fp32")
    assert step_cost(load_config(None, [*small, penalty]), GREY, "fp32").operations == (
        plain.operations
    )
