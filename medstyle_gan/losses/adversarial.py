"""The game between generators and discriminators, in four forms, from score maps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from medstyle_gan.networks.precision import at_least_fp32

Form = Literal["least_squares", "hinge", "vanilla", "wgan_gp"]
ScoreMaps = Sequence[Tensor]


def _cost_of_high(score: Tensor) -> Tensor:
    return score.mean()


def _cost_of_low(score: Tensor) -> Tensor:
    return -score.mean()


# What the generator pays for the score of a translation.
_GENERATOR: dict[Form, Callable[[Tensor], Tensor]] = {
    "least_squares": lambda score: (score - 1).square().mean(),
    "hinge": _cost_of_low,
    "vanilla": lambda score: F.softplus(-score).mean(),
    "wgan_gp": _cost_of_low,
}
# What the discriminator pays for the score of a real image, and of a fake one.
_REAL: dict[Form, Callable[[Tensor], Tensor]] = {
    "least_squares": lambda score: 0.5 * (score - 1).square().mean(),
    "hinge": lambda score: F.relu(1 - score).mean(),
    "vanilla": lambda score: 0.5 * F.softplus(-score).mean(),
    "wgan_gp": _cost_of_low,
}
_FAKE: dict[Form, Callable[[Tensor], Tensor]] = {
    "least_squares": lambda score: 0.5 * score.square().mean(),
    "hinge": lambda score: F.relu(1 + score).mean(),
    "vanilla": lambda score: 0.5 * F.softplus(score).mean(),
    "wgan_gp": _cost_of_high,
}
# A score on a scale where 1 is surely real; only differences of it mean something.
_BELIEF: dict[Form, Callable[[Tensor], Tensor]] = {
    "least_squares": lambda score: score,  # its targets are 0 and 1
    "hinge": lambda score: score.clamp(-1, 1) / 2,  # nothing is paid beyond the margins
    "vanilla": lambda score: score.sigmoid(),  # a probability
    "wgan_gp": lambda score: score,  # without bounds, in units of the image distance
}


class AdversarialLoss:
    """What generator and discriminator pay for the discriminator's score maps, in fp32.

    Each is a mean over images, patches and scales. The discriminator's losses of
    `least_squares` and `vanilla` are halved, as in pix2pix and CycleGAN.

    Args:
        name: `least_squares` (Mao et al. 2017), `hinge` (Lim & Ye 2017), `vanilla`
            (Goodfellow et al. 2014, non-saturating) or `wgan_gp` (Gulrajani et al. 2017,
            to be used with `gradient_penalty`).

    Raises:
        ValueError: for another name.
    """

    def __init__(self, name: Form = "least_squares") -> None:
        if name not in _GENERATOR:
            raise ValueError(f"adversarial loss {name!r}: choose from {', '.join(_GENERATOR)}")
        self.name = name

    def generator(self, scores: ScoreMaps) -> Tensor:
        """What the generator pays.

        Args:
            scores: maps `(B, 1, *patches)` of its translations, one a scale.

        Returns:
            A scalar.
        """
        return _over_scales(_GENERATOR[self.name], scores)

    def discriminator(self, real: ScoreMaps, fake: ScoreMaps) -> Tensor:
        """What the discriminator pays.

        Args:
            real: maps `(B, 1, *patches)` of images of its domain, one a scale.
            fake: maps of translations into it.

        Returns:
            A scalar.
        """
        return _over_scales(_REAL[self.name], real) + _over_scales(_FAKE[self.name], fake)

    @torch.no_grad()
    def advantage(self, real: ScoreMaps, fake: ScoreMaps) -> Tensor:
        """How much more a discriminator believes in real images than in fake ones.

        The difference of the mean beliefs: 0 for equal scores, 1 for a discriminator that has
        won; of `wgan_gp`, which cannot win, an estimate of the Wasserstein distance. Unlike the
        loss it does not grow with the scores' noise: a healthy `least_squares` discriminator
        pays 0.25 or more for long, as one would that always answers 0.5.

        Args:
            real: maps `(B, 1, *patches)` of images of its domain, one a scale.
            fake: maps of translations into it.

        Returns:
            A scalar without gradient.
        """
        belief = _BELIEF[self.name]

        def mean(score: Tensor) -> Tensor:
            return belief(score).mean()

        return _over_scales(mean, real) - _over_scales(mean, fake)

    def gradient_penalty(
        self,
        discriminator: Callable[[Tensor], ScoreMaps],
        real: Tensor,
        fake: Tensor,
        generator_rng: torch.Generator | None = None,
    ) -> Tensor:
        """Mean over images of (‖∇D(x̂)‖₂ − 1)², Gulrajani et al. 2017, eq. 3, in fp32.

        x̂ lies at a uniformly random place between a real image and a fake one, and D(x̂) is
        what the loss sees of an image: the mean of its scores over patches and scales.

        Args:
            discriminator: from images to score maps.
            real: images `(B, C, *spatial)`.
            fake: as many translations; no gradient flows to them.
            generator_rng: CPU generator of the B random places (default: torch's own).

        Returns:
            A scalar, unweighted, that gives the discriminator's parameters a gradient.
        """
        between = _between(real, fake, generator_rng)
        return (_slopes(discriminator, between).norm(dim=1) - 1).square().mean()

    def zero_centred_penalty(
        self,
        discriminator: Callable[[Tensor], ScoreMaps],
        real: Tensor,
        fake: Tensor,
        at: Literal["real", "fake", "between"] = "real",
        generator_rng: torch.Generator | None = None,
    ) -> Tensor:
        """Mean over images of ½ ‖∇D(x)‖₂², Mescheder et al. 2018, eq. 9 and 10, in fp32.

        D(x) is what the loss sees of an image, as in `gradient_penalty`.

        Args:
            discriminator: from images to score maps.
            real: images `(B, C, *spatial)`.
            fake: as many translations; no gradient flows to them.
            at: real images (R1), translations (R2), or places between them (Thanh-Tung et al.
                2019).
            generator_rng: CPU generator of the B random places (default: torch's own).

        Returns:
            A scalar, unweighted, that gives the discriminator's parameters a gradient.
        """
        places = {
            "real": lambda: at_least_fp32(real.detach()),
            "fake": lambda: at_least_fp32(fake.detach()),
            "between": lambda: _between(real, fake, generator_rng),
        }
        return 0.5 * _slopes(discriminator, places[at]()).square().sum(dim=1).mean()


def _between(real: Tensor, fake: Tensor, rng: torch.Generator | None) -> Tensor:
    """A uniformly random place on the line between each real image and a fake one."""
    real, fake = at_least_fp32(real.detach()), at_least_fp32(fake.detach())
    places = torch.rand(len(real), *[1] * (real.ndim - 1), generator=rng).to(real)
    return torch.lerp(fake, real, places)


def _slopes(discriminator: Callable[[Tensor], ScoreMaps], images: Tensor) -> Tensor:
    """∇D of each image, `(B, values)`, to be differentiated again."""
    images = images.detach().requires_grad_()
    with torch.enable_grad(), torch.autocast(images.device.type, enabled=False):
        scores = [score.flatten(1).mean(dim=1) for score in discriminator(images)]
        total = torch.stack(scores).mean(dim=0).sum()
        (gradient,) = torch.autograd.grad(total, images, create_graph=True)
        return gradient.flatten(1)


def _over_scales(cost: Callable[[Tensor], Tensor], scores: ScoreMaps) -> Tensor:
    return torch.stack([cost(at_least_fp32(score)) for score in scores]).mean()
