from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import VGG19_Weights

from medstyle_gan.errors import UserError
from medstyle_gan.networks import VGG19Features
from medstyle_gan.networks.vgg19 import LAYERS

EVERY_KIND = ("conv1_1", "relu1_1", "conv2_2", "pool3", "relu4_2", "conv5_1", "pool5")


@pytest.fixture(scope="module")
def weights_file(
    torchvision_state: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory
) -> str:
    path = tmp_path_factory.mktemp("vgg") / "vgg19.pth"
    torch.save(torchvision_state, path)
    return str(path)


@pytest.fixture(scope="module")
def vgg(weights_file: str) -> VGG19Features:
    return VGG19Features(weights_file, EVERY_KIND)


def _torchvision_activations(features: nn.Sequential, images: Tensor) -> dict[str, Tensor]:
    """What forward hooks see in torchvision's own module, by our layers' names."""
    seen: dict[str, Tensor] = {}
    hooks = [
        layer.register_forward_hook(lambda _l, _i, output, name=name: seen.update({name: output}))
        for name, layer in zip(LAYERS, features, strict=True)
    ]
    features(images)
    for hook in hooks:
        hook.remove()
    return seen


def _as_torchvision_wants(images: Tensor) -> Tensor:
    """[-1, 1] to what torchvision's own preset makes of pixels in [0, 1]."""
    preset = VGG19_Weights.IMAGENET1K_V1.transforms()
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (preset.mean, preset.std))
    return ((images + 1) / 2 - mean) / std


def test_layers_are_named_as_in_the_paper() -> None:
    assert len(LAYERS) == 16 + 16 + 5
    assert LAYERS[:6] == ("conv1_1", "relu1_1", "conv1_2", "relu1_2", "pool1", "conv2_1")
    assert LAYERS[-5:] == ("conv5_3", "relu5_3", "conv5_4", "relu5_4", "pool5")


@pytest.mark.parametrize("channels", [1, 3])
def test_activations_equal_those_of_torchvisions_module(
    vgg: VGG19Features, torchvision_features: nn.Sequential, channels: int
) -> None:
    torch.manual_seed(1)
    images = torch.rand(2, channels, 40, 48) * 2 - 1
    colour = images.expand(-1, 3, -1, -1)
    theirs = _torchvision_activations(torchvision_features, _as_torchvision_wants(colour))
    ours = vgg(images)
    assert tuple(ours) == EVERY_KIND
    for name, activation in ours.items():
        scale = theirs[name].abs().max().item()
        torch.testing.assert_close(activation, theirs[name], atol=1e-5 * scale, rtol=1e-4)


def test_a_captured_convolution_is_not_rectified(vgg: VGG19Features) -> None:
    activations = vgg(torch.rand(1, 1, 32, 32))
    assert (activations["conv1_1"] < 0).any()
    assert torch.equal(activations["relu1_1"], activations["conv1_1"].relu())


def test_gradients_reach_the_image_and_not_the_weights(
    vgg: VGG19Features, torchvision_features: nn.Sequential
) -> None:
    images = torch.rand(1, 1, 32, 32, requires_grad=True)
    vgg(images)["relu4_2"].square().sum().backward()
    ours, images.grad = images.grad, None
    features = torchvision_features[: LAYERS.index("relu4_2") + 1]
    features(_as_torchvision_wants(images.expand(-1, 3, -1, -1))).square().sum().backward()
    assert ours is not None
    assert images.grad is not None
    torch.testing.assert_close(ours, images.grad, rtol=1e-3, atol=1e-4 * ours.abs().max().item())
    assert not any(tensor.requires_grad for tensor in vgg.buffers())


def test_it_is_frozen_in_evaluation_mode_and_in_no_checkpoint(vgg: VGG19Features) -> None:
    parent = nn.ModuleDict({"vgg": vgg}).train()
    assert not vgg.training
    assert not list(parent.parameters())
    assert not parent.state_dict()


def test_it_runs_and_holds_no_more_than_the_deepest_layer_needs() -> None:
    shallow = VGG19Features("random:0", ["relu2_1", "relu1_1"])
    held = {name.rpartition("_")[0] for name, _ in shallow.named_buffers() if "conv" in name}
    assert held == {"conv1_1", "conv1_2", "conv2_1"}
    assert list(shallow(torch.rand(1, 1, 8, 8))) == ["relu1_1", "relu2_1"]


@pytest.mark.parametrize(("layer", "smallest"), [("relu1_2", 1), ("relu4_2", 8), ("pool5", 32)])
def test_images_too_small_for_the_deepest_layer_are_refused(layer: str, smallest: int) -> None:
    vgg = VGG19Features("random:0", [layer])
    assert vgg(torch.rand(1, 1, smallest, smallest))[layer].shape[2:] == (1, 1)
    if smallest > 1:
        with pytest.raises(UserError, match=f"needs {smallest}x{smallest}.*data.sample_size"):
            vgg(torch.rand(1, 1, smallest - 1, 64))


@pytest.mark.parametrize("layers", [["relu1_1", "relu3_5"], ["5"], []])
def test_unknown_layers_are_refused_with_the_list_of_known_ones(layers: list[str]) -> None:
    with pytest.raises(UserError, match=r"there are conv1_1, .*pool5"):
        VGG19Features("random:0", layers)


def test_other_channels_are_refused(vgg: VGG19Features) -> None:
    with pytest.raises(ValueError, match="2 channels"):
        vgg(torch.rand(1, 2, 32, 32))


def test_under_autocast_it_comes_close_in_bfloat16_without_casting_twice() -> None:
    vgg = VGG19Features("random:0", ["relu1_1", "relu4_2"])
    images = torch.rand(1, 1, 32, 32, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        reduced = vgg(images)
        cast = vgg._cast[torch.bfloat16]
        vgg(images)
    assert vgg._cast[torch.bfloat16] is cast
    for name, activation in vgg(images).items():
        assert reduced[name].dtype == torch.bfloat16
        error = (reduced[name].float() - activation).square().mean().sqrt()
        assert error < 0.05 * activation.square().mean().sqrt()
    reduced["relu4_2"].float().mean().backward()
    assert images.grad is not None
    assert images.grad.dtype == torch.float32
    assert images.grad.isfinite().all()


def test_identity_tells_weights_apart_whatever_they_are_called(
    vgg: VGG19Features, torchvision_state: dict[str, Tensor], tmp_path: Path
) -> None:
    copy = tmp_path / "other_name.pth"
    torch.save(torchvision_state, copy)
    assert VGG19Features(str(copy), EVERY_KIND).identity() == vgg.identity()
    with torch.autocast("cpu", torch.bfloat16):
        vgg(torch.rand(1, 1, 32, 32))  # makes cast weights, which are not of its identity
    assert VGG19Features(str(copy), EVERY_KIND).identity() == vgg.identity()
    torchvision_state = {**torchvision_state}
    bias = torchvision_state["features.28.bias"].clone()
    bias[0] += 1e-3
    torchvision_state["features.28.bias"] = bias
    torch.save(torchvision_state, copy)
    assert VGG19Features(str(copy), EVERY_KIND).identity() != vgg.identity()


def test_moving_it_takes_the_cast_weights_along() -> None:
    vgg = VGG19Features("random:0", ["relu1_1"])
    images = torch.rand(1, 1, 8, 8)
    single = vgg(images)["relu1_1"]
    double = vgg.double()(images.double())["relu1_1"]
    assert double.dtype == torch.float64
    torch.testing.assert_close(double.float(), single)


def test_random_weights_tell_images_apart_in_every_layer() -> None:
    layers = ["relu1_1", "relu2_1", "relu3_1", "relu4_2", "relu5_4"]
    vgg = VGG19Features("random:0", layers)
    torch.manual_seed(0)
    coarse = torch.randn(2, 1, 8, 8)
    images = nn.functional.interpolate(coarse, size=(64, 64), mode="bicubic").tanh()
    for name, activation in vgg(images).items():
        power = activation.square().mean()
        assert 0.3 < power.sqrt() < 5, name
        assert (activation[0] - activation[1]).square().mean() > 0.4 * power, name


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"vgg\.weights=.*no such file"):
        VGG19Features(str(tmp_path / "vgg19.pth"), ["relu1_1"])
