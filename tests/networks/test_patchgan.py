from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from medstyle_gan.errors import UserError
from medstyle_gan.losses import AdversarialLoss
from medstyle_gan.losses.adversarial import Form
from medstyle_gan.networks import PatchGANDiscriminator, ResNetGenerator


def _textbook(ndf: int) -> nn.Sequential:
    """The 70x70 PatchGAN of pix2pix and CycleGAN, spelled out."""
    layers = [nn.Conv2d(1, ndf, 4, 2, 1), nn.LeakyReLU(0.2)]
    for width, stride in ((ndf, 2), (2 * ndf, 2), (4 * ndf, 1)):
        layers += [nn.Conv2d(width, 2 * width, 4, stride, 1), nn.InstanceNorm2d(2 * width)]
        layers.append(nn.LeakyReLU(0.2))
    return nn.Sequential(*layers, nn.Conv2d(8 * ndf, 1, 4, 1, 1))


def test_parameter_count_is_that_of_the_paper() -> None:
    with torch.device("meta"):
        discriminator = PatchGANDiscriminator(3)
    assert sum(p.numel() for p in discriminator.parameters()) == 2_764_737


def test_scores_equal_the_papers_layers() -> None:
    torch.manual_seed(0)
    discriminator, textbook = PatchGANDiscriminator(1, ndf=4).double(), _textbook(4).double()
    with torch.no_grad():
        for mine, other in zip(discriminator.parameters(), textbook.parameters(), strict=True):
            mine.normal_(0, 0.3)
            other.copy_(mine)
    x = torch.rand(2, 1, 40, 48, dtype=torch.float64)
    (scores,) = discriminator(x)
    assert scores.shape == (2, 1, 3, 4)
    torch.testing.assert_close(scores, textbook(x))


@pytest.mark.parametrize(("layers", "pixels"), [(1, 16), (2, 34), (3, 70)])
def test_a_score_sees_as_many_pixels_as_the_name_says(layers: int, pixels: int) -> None:
    torch.manual_seed(0)
    discriminator = PatchGANDiscriminator(1, ndf=2, layers=layers).double()
    for parent in discriminator.modules():  # instance norms see the whole image
        for name, child in parent.named_children():
            if isinstance(child, nn.InstanceNorm2d):
                setattr(parent, name, nn.Identity())
    x = torch.rand(1, 1, 128, 128, dtype=torch.float64, requires_grad=True)
    (scores,) = discriminator(x)
    scores[0, 0, scores.shape[2] // 2, scores.shape[3] // 2].backward()
    assert x.grad is not None
    seen = x.grad[0, 0] != 0
    for axis in (0, 1):
        positions = seen.any(dim=axis).nonzero()
        assert positions.max() - positions.min() + 1 == pixels


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("scales", [1, 2])
def test_every_scale_gives_a_map_and_the_smallest_size_one_score(dims: int, scales: int) -> None:
    discriminator = PatchGANDiscriminator(3, ndf=2, layers=1, scales=scales, dims=dims)
    size = discriminator.minimum_size
    scores = discriminator(torch.rand(2, 3, *[size] * dims))
    assert len(scores) == scales
    assert scores[-1].shape == (2, 1, *[1] * dims)
    with pytest.raises(UserError, match=f"at least {size}"):
        discriminator(torch.rand(2, 3, *[size - 1] * dims))


def test_the_second_scale_judges_the_image_at_half_the_size() -> None:
    torch.manual_seed(0)
    discriminator = PatchGANDiscriminator(1, ndf=4, scales=2)
    single = PatchGANDiscriminator(1, ndf=4)
    state = discriminator.scales[1].state_dict(prefix="scales.0.")
    single.load_state_dict(state)
    x = torch.rand(1, 1, 64, 64)
    # Averages of 3x3 pixels around every second pixel; at the border, of those that exist.
    ones = torch.ones(1, 1, 3, 3)
    halved = F.conv2d(x, ones, stride=2, padding=1)
    halved = halved / F.conv2d(torch.ones_like(x), ones, stride=2, padding=1)
    torch.testing.assert_close(discriminator(x)[1], single(halved)[0])


def test_a_batch_is_scored_as_its_images_are() -> None:
    torch.manual_seed(0)
    discriminator = PatchGANDiscriminator(1, ndf=4, scales=2).double()
    x = torch.rand(3, 1, 64, 64, dtype=torch.float64)
    alone = [discriminator(image[None]) for image in x]
    for scale, together in enumerate(discriminator(x)):
        torch.testing.assert_close(together, torch.cat([scores[scale] for scores in alone]))


def test_scoring_leaves_the_image_as_it_is() -> None:
    x = torch.rand(1, 1, 32, 32)
    before = x.clone()
    PatchGANDiscriminator(1, ndf=4, scales=1)(x)
    assert torch.equal(x, before)


def test_spectral_norm_bounds_every_convolution() -> None:
    torch.manual_seed(0)
    discriminator = PatchGANDiscriminator(1, ndf=8, layers=2, spectral_norm=True)
    for _ in range(60):  # power iterations
        discriminator(torch.rand(1, 1, 32, 32))
    convolutions = [layer for layer in discriminator.modules() if isinstance(layer, nn.Conv2d)]
    assert len(convolutions) == 4
    for convolution in convolutions:
        norm = torch.linalg.matrix_norm(convolution.weight.detach().flatten(1), 2).item()
        assert norm == pytest.approx(1, rel=0.05)


def _generator_and_discriminator(
    spectral_norm: bool,
) -> tuple[ResNetGenerator, PatchGANDiscriminator]:
    torch.manual_seed(0)
    generator = ResNetGenerator(1, 1, 4, 1).double()
    discriminator = PatchGANDiscriminator(1, ndf=4, scales=2, spectral_norm=spectral_norm)
    # Power iterations move in training mode only; the two forms need the same weights.
    return generator, discriminator.double().eval()


def _gradients(*modules: nn.Module) -> list[Tensor]:
    return [p.grad for module in modules for p in module.parameters() if p.grad is not None]


@pytest.mark.parametrize("name", ["least_squares", "hinge", "vanilla", "wgan_gp"])
@pytest.mark.parametrize("spectral_norm", [False, True])
def test_one_joint_backward_gives_the_gradients_of_the_alternating_form(
    name: Form, spectral_norm: bool
) -> None:
    loss = AdversarialLoss(name)
    scan, style = torch.rand(2, 2, 1, 48, 48, dtype=torch.float64) * 2 - 1

    generator, discriminator = _generator_and_discriminator(spectral_norm)
    translation = generator(scan)
    discriminator.requires_grad_(False)
    loss.generator(discriminator(translation)).backward()
    discriminator.requires_grad_(True)
    loss.discriminator(discriminator(style), discriminator(translation.detach())).backward()
    alternating = _gradients(generator, discriminator)

    generator, discriminator = _generator_and_discriminator(spectral_norm)
    translation = generator(scan)
    frozen = {key: p.detach() for key, p in discriminator.named_parameters()}
    of_generator = loss.generator(functional_call(discriminator, frozen, (translation,)))
    of_discriminator = loss.discriminator(discriminator(style), discriminator(translation.detach()))
    (of_generator + of_discriminator).backward()

    joint = _gradients(generator, discriminator)
    assert len(joint) == len(list(generator.parameters()) + list(discriminator.parameters()))
    for mine, other in zip(joint, alternating, strict=True):
        torch.testing.assert_close(mine, other)


def test_joint_backward_works_in_training_mode_with_spectral_norm() -> None:
    generator, discriminator = _generator_and_discriminator(spectral_norm=True)
    discriminator.train()
    loss = AdversarialLoss()
    scan, style = torch.rand(2, 1, 1, 48, 48, dtype=torch.float64)
    translation = generator(scan)
    frozen = {key: p.detach() for key, p in discriminator.named_parameters()}
    total = loss.generator(functional_call(discriminator, frozen, (translation,)))
    total = total + loss.discriminator(discriminator(style), discriminator(translation.detach()))
    total.backward()
    assert all(gradient.isfinite().all() for gradient in _gradients(generator, discriminator))
