from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from medstyle_gan.errors import UserError
from medstyle_gan.networks import ResNetGenerator
from medstyle_gan.networks.resnet import ResidualBlock, Upsampling

SIZES = {2: (16, 24), 3: (8, 12, 8)}


class _Residual(nn.Module):
    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


def _textbook(ngf: int, blocks: int, upsampling: Upsampling, dims: int) -> nn.Sequential:
    """The generator of the papers, spelled out with plain layers only.

    With resizing, the strided convolutions are 4 wide: see the flip test.
    """
    conv = getattr(nn, f"Conv{dims}d")
    transposed = getattr(nn, f"ConvTranspose{dims}d")
    norm = getattr(nn, f"InstanceNorm{dims}d")
    pad = getattr(nn, f"ReflectionPad{dims}d")
    layers = [pad(3), conv(1, ngf, 7), norm(ngf), nn.ReLU()]
    for width in (ngf, 2 * ngf):
        halving = 3 if upsampling == "transpose" else 4
        layers += [conv(width, 2 * width, halving, 2, 1), norm(2 * width), nn.ReLU()]
    wide = 4 * ngf
    for _ in range(blocks):
        half = [pad(1), conv(wide, wide, 3), norm(wide)]
        other = [pad(1), conv(wide, wide, 3), norm(wide)]
        layers.append(_Residual(*half, nn.ReLU(), *other))
    for width in (4 * ngf, 2 * ngf):
        if upsampling == "transpose":
            layers.append(transposed(width, width // 2, 3, 2, 1, output_padding=1))
        else:
            linear = {2: "bilinear", 3: "trilinear"}[dims]
            doubling = nn.Upsample(None, 2, linear if upsampling == "linear" else "nearest")
            around = getattr(nn, f"ReplicationPad{dims}d")(1)
            layers += [doubling, around, conv(width, width // 2, 3)]
        layers += [norm(width // 2), nn.ReLU()]
    return nn.Sequential(*layers, pad(3), conv(ngf, 1, 7), nn.Tanh())


@pytest.mark.parametrize(("channels", "parameters"), [(3, 11_378_179), (1, 11_365_633)])
def test_parameter_count_is_that_of_the_paper(channels: int, parameters: int) -> None:
    with torch.device("meta"):
        generator = ResNetGenerator(channels, channels, 64, 9, "transpose")
    assert sum(p.numel() for p in generator.parameters()) == parameters


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("upsampling", ["transpose", "resize", "linear"])
@pytest.mark.parametrize("blocks", [1, 2])
def test_translation_equals_the_papers_layers(
    upsampling: Upsampling, dims: int, blocks: int
) -> None:
    torch.manual_seed(0)
    generator = ResNetGenerator(1, 1, 4, blocks, upsampling, dims).double()
    textbook = _textbook(4, blocks, upsampling, dims).double()
    ours = list(generator.parameters())
    theirs = list(textbook.parameters())
    with torch.no_grad():
        for mine, other in zip(ours, theirs, strict=True):
            mine.normal_(0, 0.3)
            other.copy_(mine)
    x = torch.rand(2, 1, *SIZES[dims], dtype=torch.float64) * 2 - 1
    torch.testing.assert_close(generator(x), textbook(x))
    costs = [generator(x).square().sum(), textbook(x).square().sum()]
    gradients = [torch.autograd.grad(costs[0], ours), torch.autograd.grad(costs[1], theirs)]
    for of_mine, of_other in zip(*gradients, strict=True):
        torch.testing.assert_close(of_mine, of_other)


@pytest.mark.parametrize("axis", [2, 3])
@pytest.mark.parametrize("upsampling", ["resize", "linear"])
def test_symmetric_kernels_commute_with_flips_so_nothing_is_moved(
    axis: int, upsampling: Upsampling
) -> None:
    torch.manual_seed(0)
    generator = ResNetGenerator(1, 1, 4, 2, upsampling).double()
    with torch.no_grad():
        for weight in generator.parameters():
            if weight.ndim == 4:
                weight.normal_(0, 0.2)
                weight.copy_((weight + weight.flip(axis)) / 2)
    x = torch.rand(1, 1, 16, 24, dtype=torch.float64) * 2 - 1
    torch.testing.assert_close(generator(x.flip(axis)), generator(x).flip(axis))


@pytest.mark.parametrize("dims", [2, 3])
def test_translation_keeps_the_size_and_stays_in_range(dims: int) -> None:
    torch.manual_seed(0)
    generator = ResNetGenerator(1, 3, 4, 1, dims=dims)
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter.mul_(50)
    translation = generator(torch.rand(2, 1, *SIZES[dims]) * 2 - 1)
    assert translation.shape == (2, 3, *SIZES[dims])
    assert 0.5 < translation.abs().max() <= 1


def test_a_batch_is_translated_as_its_images_are() -> None:
    torch.manual_seed(0)
    generator = ResNetGenerator(1, 1, 8, 2).double()
    x = torch.rand(3, 1, 16, 16, dtype=torch.float64)
    torch.testing.assert_close(generator(x), torch.cat([generator(image[None]) for image in x]))


def test_weights_are_initialised_as_in_cyclegan() -> None:
    torch.manual_seed(0)
    generator = ResNetGenerator(1, 1, 16, 2)
    weights = torch.cat([p.flatten() for p in generator.parameters() if p.ndim > 1])
    assert weights.std().item() == pytest.approx(0.02, rel=0.02)


def test_the_state_dict_holds_parameters_only() -> None:
    generator = ResNetGenerator(1, 1, 4, 1)
    assert set(generator.state_dict()) == {name for name, _ in generator.named_parameters()}


def test_bfloat16_comes_close_and_gives_an_fp32_image() -> None:
    torch.manual_seed(0)
    generator = ResNetGenerator(1, 1, 8, 2)
    x = torch.rand(1, 1, 32, 32) * 2 - 1
    with torch.autocast("cpu", torch.bfloat16):
        translation = generator(x)
    assert translation.dtype == torch.float32
    torch.testing.assert_close(translation, generator(x), atol=0.02, rtol=0)
    translation.mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in generator.parameters())


@pytest.mark.parametrize("size", [(16, 18), (17, 16), (4, 16)])
def test_sizes_that_would_not_come_back_are_refused(size: tuple[int, int]) -> None:
    generator = ResNetGenerator(1, 1, 4, 1)
    with pytest.raises(UserError, match=f"{size[0]}x{size[1]}.*multiples of 4"):
        generator(torch.zeros(1, 1, *size))


@pytest.mark.parametrize("upsampling", ["transpose", "resize", "linear"])
def test_the_smallest_size_works(upsampling: Upsampling) -> None:
    generator = ResNetGenerator(1, 1, 4, 1, upsampling)
    size = generator.minimum_size
    assert generator(torch.rand(1, 1, size, size)).shape == (1, 1, size, size)


def _gradients(
    net: ResNetGenerator, x: torch.Tensor, autocast: bool
) -> tuple[dict[str, torch.Tensor], int]:
    """Gradients of weights and input, and the bytes that the forward pass keeps for them."""
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    def keep_input(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        keep(inputs[0])  # of a checkpointed block: no hook of autograd's sees that it is kept

    net.zero_grad()
    for layer in net.layers:
        if isinstance(layer, ResidualBlock):
            layer.register_forward_pre_hook(keep_input)
    x = x.clone().requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            loss = net(x).square().mean()
        bytes_kept = sum(kept.values())
    loss.backward()
    assert x.grad is not None
    return {"input": x.grad, **{n: p.grad for n, p in net.named_parameters()}}, bytes_kept


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("dims", [2, 3])
def test_checkpointed_activations_give_the_same_gradients_in_less_memory(
    dims: int, autocast: bool
) -> None:
    torch.manual_seed(0)
    net = ResNetGenerator(ngf=4, blocks=6, dims=dims)
    x = torch.rand(2, 1, *[16] * dims) * 2 - 1
    plain, much = _gradients(net, x, autocast)
    net.checkpoint_activations = True
    state = torch.get_rng_state()
    again, little = _gradients(net, x, autocast)
    assert torch.equal(torch.get_rng_state(), state)
    torch.testing.assert_close(again, plain, rtol=0, atol=0)
    assert little < (0.6 if dims == 2 else 0.75) * much


def test_checkpointed_activations_change_neither_the_weights_names_nor_inference() -> None:
    torch.manual_seed(0)
    plain = ResNetGenerator(ngf=4, blocks=2)
    other = ResNetGenerator(ngf=4, blocks=2, checkpoint_activations=True)
    other.load_state_dict(plain.state_dict())
    with torch.no_grad():
        x = torch.rand(1, 1, 16, 16)
        torch.testing.assert_close(other(x), plain(x), rtol=0, atol=0)
