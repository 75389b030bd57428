"""Generators that tell how far to go (`residual`), attention in them, and their features."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from medstyle_gan.config import load_config
from medstyle_gan.errors import UserError
from medstyle_gan.networks import ResNetGenerator, SwitchableGenerator, build_generator
from medstyle_gan.networks.resnet import FEATURE_LAYERS, ResidualBlock, towards_the_ends


def made(kind: type[ResNetGenerator] = ResNetGenerator, **more: object) -> ResNetGenerator:
    torch.manual_seed(0)
    return kind(ngf=4, blocks=2, **more)  # type: ignore[arg-type]


def test_values_go_a_share_of_the_way_to_the_ends() -> None:
    x = torch.tensor([-1.0, -0.5, 0.0, 0.5, 1.0])[None, None]
    for share in (-1.0, -0.5, 0.0, 0.25, 1.0):
        end = 1.0 if share > 0 else -1.0
        expected = x + abs(share) * (end - x)
        torch.testing.assert_close(towards_the_ends(x, torch.full_like(x, share)), expected)


@pytest.mark.parametrize("kind", [ResNetGenerator, SwitchableGenerator])
def test_a_fresh_residual_generator_is_nearly_the_identity_and_stays_in_range(
    kind: type[ResNetGenerator],
) -> None:
    x = torch.rand(2, 1, 16, 16) * 2 - 1
    generator, plain = made(kind, residual=True), made(kind)
    plain.load_state_dict(generator.state_dict())  # the same weights, another end
    torch.testing.assert_close(generator(x), towards_the_ends(x, plain(x)))
    nn.init.normal_(generator.layers[-2].conv.weight, 0, 0.001)
    assert float((generator(x) - x).abs().mean()) < 0.05
    nn.init.normal_(generator.layers[-2].conv.weight, 0, 100)
    assert float(generator(x).abs().max()) <= 1


@pytest.mark.parametrize(("taken", "given"), [(1, 3), (3, 1)])
def test_colour_is_adapted_by_rule(taken: int, given: int) -> None:
    generator = made(residual=True, in_channels=taken, out_channels=given)
    nn.init.zeros_(generator.layers[-2].conv.weight)
    x = torch.rand(1, taken, 16, 16)
    found = generator(x)
    assert found.shape == (1, given, 16, 16)
    assert torch.allclose(found.mean(), x.mean(), atol=0.1)


@pytest.mark.parametrize("kind", [ResNetGenerator, SwitchableGenerator])
@pytest.mark.parametrize("dims", [2, 3])
def test_attention_stands_behind_the_middle_block(kind: type[ResNetGenerator], dims: int) -> None:
    generator, plain = made(kind, attention=2, dims=dims), made(kind, dims=dims)
    kinds = [type(layer).__name__ for layer in generator.layers]
    assert kinds[10:14] == ["ResidualBlock", "ResidualBlock", "SelfAttention", "ResizeConv"]
    x = torch.rand(1, 1, *[16] * dims) * 2 - 1
    plain.load_state_dict(
        {
            n if int(n.split(".")[1]) < 12 else _earlier(n): w
            for n, w in generator.state_dict().items()
            if n.startswith("layers.") and not n.startswith("layers.12.")
        }
        | {n: w for n, w in generator.state_dict().items() if not n.startswith("layers.")}
    )
    torch.testing.assert_close(generator(x), plain(x))  # its share is 0 at first
    nn.init.ones_(generator.layers[12].share)
    nn.init.normal_(generator.layers[12].out.weight)
    nn.init.normal_(generator.layers[12].to_parts.weight)
    assert not torch.allclose(generator(x), plain(x), atol=1e-3)


def _earlier(name: str) -> str:
    head, number, rest = name.split(".", 2)
    return f"{head}.{int(number) - 1}.{rest}"


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("again", [False, True])
def test_features_are_those_that_hooks_see(dims: int, again: bool) -> None:
    generator = made(dims=dims, checkpoint_activations=again, attention=1)
    seen = {}
    for place in (4, 7, 10, 11):
        generator.layers[place].register_forward_hook(
            lambda module, inputs, output, place=place: seen.setdefault(place, output.clone())
        )
    x = torch.rand(2, 1, *[16] * dims)
    with torch.no_grad():
        generator(x)
    seen = {-1: x} | dict(seen)
    for layer in generator.layers:
        layer._forward_hooks.clear()
    found = generator.features(x, FEATURE_LAYERS)
    channels = generator.feature_channels(FEATURE_LAYERS)
    assert list(found) == list(channels) == list(FEATURE_LAYERS)
    for (name, feature), place in zip(found.items(), (-1, 4, 7, 10, 11), strict=True):
        torch.testing.assert_close(feature, seen[place])
        assert feature.shape[1] == channels[name]
    assert found["halved"].shape[2:] == (8,) * dims
    assert found["middle_block"].shape[2:] == (4,) * dims


def test_nothing_behind_the_last_feature_is_computed() -> None:
    generator = made()
    ran = []
    for place, layer in enumerate(generator.layers):
        layer.register_forward_hook(lambda *x, place=place: ran.append(place))
    generator.features(torch.rand(1, 1, 16, 16), ("input", "quartered"))
    assert ran == list(range(8))
    assert isinstance(generator.layers[10], ResidualBlock)


def test_settings_make_them() -> None:
    config = load_config(None, ["generator.residual=true", "generator.attention=4"])
    generator = build_generator(config.generator, 1, 1)
    assert generator.residual
    assert any(type(m).__name__ == "SelfAttention" for m in generator.modules())
    with pytest.raises(UserError, match="do not divide"):
        load_config(None, ["generator.attention=3", "generator.ngf=4"])
    plain = build_generator(load_config(None, []).generator, 1, 1)
    assert not plain.residual
    assert not any(type(m).__name__ == "SelfAttention" for m in plain.modules())
