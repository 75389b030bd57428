from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medstyle_gan.losses import AdversarialLoss
from medstyle_gan.losses.adversarial import Form
from medstyle_gan.networks import PatchGANDiscriminator

NAMES: list[Form] = ["least_squares", "hinge", "vanilla", "wgan_gp"]


def _maps(value: float) -> list[Tensor]:
    return [torch.full((2, 1, 5, 6), value), torch.full((2, 1, 2, 3), value)]


@pytest.mark.parametrize(
    ("name", "score", "cost"),
    [
        ("least_squares", 0.25, 0.75**2),
        ("least_squares", 1.0, 0.0),
        ("hinge", 0.25, -0.25),
        ("vanilla", 0.0, math.log(2)),
        ("vanilla", -60.0, 60.0),
        ("wgan_gp", 3.0, -3.0),
    ],
)
def test_the_generator_pays_the_closed_form(name: Form, score: float, cost: float) -> None:
    loss = AdversarialLoss(name).generator(_maps(score))
    assert loss.shape == ()
    assert loss.item() == pytest.approx(cost)


@pytest.mark.parametrize(
    ("name", "real", "fake", "cost"),
    [
        ("least_squares", 0.5, 0.25, 0.5 * (0.5**2 + 0.25**2)),
        ("hinge", 0.5, -0.25, 0.5 + 0.75),
        ("hinge", 1.5, -2.0, 0.0),
        ("vanilla", 0.0, 0.0, math.log(2)),
        ("vanilla", 60.0, -60.0, 0.0),
        ("wgan_gp", 2.0, 0.5, -1.5),
    ],
)
def test_the_discriminator_pays_the_closed_form(
    name: Form, real: float, fake: float, cost: float
) -> None:
    loss = AdversarialLoss(name).discriminator(_maps(real), _maps(fake))
    assert loss.shape == ()
    assert loss.item() == pytest.approx(cost, abs=1e-6)


def test_vanilla_equals_binary_cross_entropy() -> None:
    torch.manual_seed(0)
    real, fake = torch.randn(2, 3, 1, 4, 4)
    loss = AdversarialLoss("vanilla")
    ones, zeros = torch.ones_like(real), torch.zeros_like(real)
    entropy = F.binary_cross_entropy_with_logits
    expected = 0.5 * (entropy(real, ones) + entropy(fake, zeros))
    torch.testing.assert_close(loss.discriminator([real], [fake]), expected)
    torch.testing.assert_close(loss.generator([fake]), entropy(fake, ones))


@pytest.mark.parametrize("name", NAMES)
def test_scales_weigh_the_same_however_many_patches_they_have(name: Form) -> None:
    torch.manual_seed(0)
    fine, coarse = torch.randn(2, 1, 8, 8), torch.randn(2, 1, 2, 2)
    loss = AdversarialLoss(name)
    alone = [loss.generator([fine]), loss.generator([coarse])]
    torch.testing.assert_close(loss.generator([fine, coarse]), sum(alone) / 2)


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_costs_the_mean_of_its_images(name: Form) -> None:
    torch.manual_seed(0)
    real, fake = torch.randn(2, 4, 1, 3, 3)
    loss = AdversarialLoss(name)
    alone = [loss.discriminator([r[None]], [f[None]]) for r, f in zip(real, fake, strict=True)]
    torch.testing.assert_close(loss.discriminator([real], [fake]), torch.stack(alone).mean())


@pytest.mark.parametrize("name", NAMES)
def test_scores_in_bfloat16_are_summed_in_fp32(name: Form) -> None:
    torch.manual_seed(0)
    scores = (torch.randn(1, 1, 64, 64) + 100).bfloat16()
    loss = AdversarialLoss(name)
    with torch.autocast("cpu", torch.bfloat16):
        cost = loss.generator([scores])
    assert cost.dtype == torch.float32
    torch.testing.assert_close(cost, loss.generator([scores.double()]).float())


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'lsgan'.*least_squares, hinge, vanilla, wgan_gp"):
        AdversarialLoss("lsgan")  # type: ignore[arg-type]


class _Linear(nn.Module):
    """A critic whose image gradient is its weight divided by the number of patches."""

    def __init__(self, pixels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(pixels, dtype=torch.float64))

    def forward(self, x: Tensor) -> list[Tensor]:
        return [(x.flatten(1) * self.weight)[:, None, None]]


def test_the_penalty_of_a_linear_critic_is_the_closed_form() -> None:
    torch.manual_seed(0)
    critic = _Linear(12)
    real, fake = torch.randn(2, 3, 1, 3, 4, dtype=torch.float64)
    penalty = AdversarialLoss("wgan_gp").gradient_penalty(critic, real, fake)
    norm = critic.weight.norm() / 12
    torch.testing.assert_close(penalty, (norm - 1).square())
    (gradient,) = torch.autograd.grad(penalty, critic.weight)
    expected = 2 * (norm - 1) * critic.weight / (12 * critic.weight.norm())
    torch.testing.assert_close(gradient, expected.detach())


def test_the_penalty_is_taken_between_real_and_fake_of_each_image() -> None:
    seen = []

    def critic(x: Tensor) -> list[Tensor]:
        seen.append(x.detach())
        return [x.square()]

    real, fake = torch.ones(64, 1, 2, 2), torch.zeros(64, 1, 2, 2)
    AdversarialLoss("wgan_gp").gradient_penalty(critic, real, fake)
    places = seen[0][:, 0, 0, 0]
    assert torch.equal(seen[0], places.view(-1, 1, 1, 1).expand(-1, 1, 2, 2))
    assert places.min() >= 0
    assert places.max() <= 1
    assert places.unique().numel() > 60
    assert 0.35 < places.mean() < 0.65


def test_the_penalty_draws_from_the_generator_it_is_given_only() -> None:
    torch.manual_seed(0)
    discriminator = PatchGANDiscriminator(1, ndf=2, layers=1)
    real, fake = torch.rand(2, 2, 1, 16, 16)
    loss = AdversarialLoss("wgan_gp")
    before = torch.get_rng_state()
    penalties = [
        loss.gradient_penalty(discriminator, real, fake, torch.Generator().manual_seed(seed))
        for seed in (1, 1, 2)
    ]
    assert torch.equal(torch.get_rng_state(), before)
    assert penalties[0] == penalties[1] != penalties[2]


def test_the_penalty_reaches_the_discriminator_and_not_the_translation() -> None:
    torch.manual_seed(0)
    discriminator = PatchGANDiscriminator(1, ndf=2, layers=1, scales=2)
    real = torch.rand(2, 1, 16, 16)
    fake = torch.rand(2, 1, 16, 16, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        penalty = AdversarialLoss("wgan_gp").gradient_penalty(discriminator, real, fake)
    assert penalty.dtype == torch.float32
    penalty.backward()
    assert fake.grad is None
    weights = [p for p in discriminator.parameters() if p.ndim > 1]
    assert all(weight.grad is not None and weight.grad.any() for weight in weights)


@pytest.mark.parametrize(
    ("form", "real", "fake", "expected"),
    [
        ("least_squares", 1.0, 0.0, 1.0),
        ("hinge", 1.0, -1.0, 1.0),
        ("hinge", 50.0, -50.0, 1.0),
        ("vanilla", 50.0, -50.0, 1.0),
        ("wgan_gp", 7.0, 4.0, 3.0),
    ],
)
def test_advantage_of_a_discriminator_that_tells_all(
    form: Form, real: float, fake: float, expected: float
) -> None:
    game = AdversarialLoss(form)
    maps = [[torch.full((2, 1, size, size), score) for size in (4, 2)] for score in (real, fake)]
    assert float(game.advantage(*maps)) == pytest.approx(expected)
    assert float(game.advantage(*reversed(maps))) == pytest.approx(-expected)


@pytest.mark.parametrize("form", ["least_squares", "hinge", "vanilla", "wgan_gp"])
def test_advantage_is_none_for_equal_scores_however_noisy(form: Form) -> None:
    scores = [torch.randn(2, 1, 64, 64, generator=torch.Generator().manual_seed(s)) for s in (0, 1)]
    game = AdversarialLoss(form)
    # The loss says nothing of it: noise alone makes least squares pay far more than 0.25.
    assert abs(float(game.advantage([scores[0]], [scores[1]]))) < 0.03
    assert float(game.advantage([scores[0]], [scores[0]])) == 0
    assert not game.advantage([scores[0].requires_grad_()], [scores[1]]).requires_grad


@pytest.mark.parametrize("at", ["real", "fake"])
def test_the_zero_centred_penalty_of_a_square_is_a_closed_form(at) -> None:
    """D(x) = a Σ x² / N has the slope 2 a x / N."""
    a = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    real, fake = (torch.rand(2, 1, 4, 5, dtype=torch.float64) for _ in range(2))
    value = AdversarialLoss().zero_centred_penalty(lambda x: [a * x.square()], real, fake, at)
    x = real if at == "real" else fake
    expected = 0.5 * (6 * x / 20).square().flatten(1).sum(dim=1).mean()
    torch.testing.assert_close(value, expected)
    (slope,) = torch.autograd.grad(value, a)
    torch.testing.assert_close(slope, 2 * expected / 3)


def test_the_penalty_between_images_lies_between_theirs() -> None:
    loss, rng = AdversarialLoss("hinge"), torch.Generator().manual_seed(0)
    real, fake = torch.full((4, 1, 4, 4), 2.0), torch.full((4, 1, 4, 4), 1.0)

    def discriminator(x: Tensor) -> list[Tensor]:
        return [x.square()]

    ends = [
        float(loss.zero_centred_penalty(discriminator, real, fake, at).detach())
        for at in ("fake", "real")
    ]
    middle = float(loss.zero_centred_penalty(discriminator, real, fake, "between", rng))
    assert ends[0] < middle < ends[1]
