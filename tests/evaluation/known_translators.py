"""The phantom's true mapping as a model, and models that spoil it in one known way each.

They are generators inside a `Translator`, so that every chapter meets them as it meets trained
ones: by slices, with the body found in the scan, mirrored, backward, through gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt, gaussian_filter, shift
from torch import Tensor, nn
from torch.nn import functional as F

from medstyle_gan.config import Config
from medstyle_gan.data.intensity import FittedScale
from medstyle_gan.data.slices import to_slices
from medstyle_gan.evaluation.chapter import Array, Subject
from medstyle_gan.evaluation.hallucination.blobs import ball, place
from medstyle_gan.evaluation.robustness.corruptions import CORRUPTIONS, SEVERITIES
from medstyle_gan.inference import Translator

_KNOTS = 41
_PAINTED = 4  # lesions in each subject
_LESION = 10.0  # mm


@dataclass(frozen=True)
class Known:
    """Slices that a generator of the phantom knows, `(N, H, W)` each, in all ways to lie.

    Attributes:
        scan: what it is given.
        style: the truth.
        painted: the truth with lesions that are not there.
        training: the slice at the same height of a subject of the training.
    """

    scan: Tensor
    style: Tensor
    painted: Tensor
    training: Tensor


def know(subjects: Sequence[Subject], training: Sequence[Subject]) -> Known:
    """All slices of subjects, also mirrored and turned as the chapters do.

    Args:
        subjects: with truth.
        training: whose style volumes are copied, one for each subject, on grids of one shape.
    """
    found: list[list[Array]] = [[], [], [], []]
    for subject, other in zip(subjects, training, strict=True):
        assert subject.truth is not None
        assert other.truth is not None
        volumes = (subject.scan, subject.truth, _with_lesions(subject), other.truth)
        for lie in _ways_to_lie():
            for own, volume in zip(found, volumes, strict=True):
                own.append(to_slices(lie(volume)[None], "axial")[:, 0])
    return Known(*(torch.from_numpy(np.concatenate(own).astype(np.float32)) for own in found))


def _ways_to_lie() -> list[Callable[[Array], Array]]:
    rotation = CORRUPTIONS["rotation"]
    turned = [lambda a, s=s: rotation.moved(a, s, -1.0) for s in SEVERITIES]
    return [lambda a: a, lambda a: a[::-1], lambda a: a[:, ::-1], *turned]


def _with_lesions(subject: Subject) -> Array:
    assert subject.truth is not None
    painted = subject.truth.copy()
    # Where the style is dark, so that they stand out, and well apart.
    deep = distance_transform_edt(subject.mask, sampling=subject.spacing) > 15
    smooth = gaussian_filter(subject.truth, [_LESION / 4 / step for step in subject.spacing])
    deep &= smooth < np.median(smooth[deep])
    rng = np.random.default_rng(0)
    for _ in range(_PAINTED):
        center = np.unravel_index(rng.choice(np.flatnonzero(deep)), deep.shape)
        middle = (int(center[0]), int(center[1]), int(center[2]))
        box, share = place(ball(_LESION, subject.spacing), middle, deep.shape)
        painted[box] += share * (1.0 - painted[box])  # as bright as can be
        apart = np.linalg.norm(
            (np.indices(deep.shape).T - middle) * np.array(subject.spacing), axis=-1
        ).T
        deep &= apart > 2.5 * _LESION
    return painted


class TrueMapping(nn.Module):
    """Gives every slice that it knows its truth; what is changed in it, changes by intensity.

    A lesion or noise in a known slice comes out as the median true intensity of what it looks
    like: what any faithful translator makes of a scan that it has not seen.

    Args:
        known: slices.
        backward: from style to scan instead.
        answer: of `known`, in place of the truth.
    """

    divisor = 4

    def __init__(self, known: Known, backward: bool = False, answer: str = "style") -> None:
        super().__init__()
        given, truth = (known.style, known.scan) if backward else (known.scan, known.style)
        self.given, self.truth = given, known.scan if backward else getattr(known, answer)
        self.keys = _unit_vectors(given)
        self.register_buffer("curve", _median_curve(given, truth))

    def forward(self, x: Tensor) -> Tensor:
        """`(B, 1, H, W)` → the same."""
        nearest = self._nearest(x[:, 0].detach().float())
        expected, truth = self.given[nearest][:, None], self.truth[nearest][:, None]
        return truth + self._mapped(x) - self._mapped(expected)

    def _nearest(self, slices: Tensor) -> Tensor:
        """Which known slice each is: the one that most pixels are of, else the most alike."""
        alike = _unit_vectors(slices) @ self.keys.T
        few = (..., slice(None, None, 4), slice(None, None, 4))
        same = (slices[few][:, None] - self.given[few][None]).abs() < 0.01
        return (alike + 2 * (same.float().mean(dim=(2, 3)) > 0.5)).argmax(dim=1)

    def _mapped(self, x: Tensor) -> Tensor:
        place = (x.clamp(-1, 1) + 1) / 2 * (_KNOTS - 1)
        below = place.detach().floor().long().clamp(max=_KNOTS - 2)
        share = place - below
        return self.curve[below] * (1 - share) + self.curve[below + 1] * share


def _unit_vectors(slices: Tensor) -> Tensor:
    flat = slices.flatten(1)
    return F.normalize(flat - flat.mean(dim=1, keepdim=True), dim=1)


def _median_curve(given: Tensor, truth: Tensor) -> Tensor:
    """(41,) the median truth around even intensities."""
    knots = np.linspace(-1, 1, _KNOTS)
    place = np.rint((given.numpy().ravel() + 1) / 2 * (_KNOTS - 1)).astype(int)
    values = truth.numpy().ravel()
    there = [k for k in range(_KNOTS) if (place == k).sum() > 20]
    medians = [np.median(values[place == k]) for k in there]
    return torch.from_numpy(np.interp(knots, knots[there], medians).astype(np.float32))


class Spoiled(nn.Module):
    """A generator and what is done to its slices.

    Args:
        generator: the true mapping.
        change: of `(B, 1, H, W)`.
    """

    divisor = 4

    def __init__(self, generator: nn.Module, change: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.generator, self.change = generator, change

    def forward(self, x: Tensor) -> Tensor:
        """`(B, 1, H, W)` → the same."""
        return self.change(self.generator(x)).clamp(-1, 1)


def _by_numpy(function: Callable[[Array], Array]) -> Callable[[Tensor], Tensor]:
    """A linear change of slices whose gradient nobody needs to be exact: straight through."""

    def change(x: Tensor) -> Tensor:
        changed = torch.from_numpy(np.stack([function(s) for s in x[:, 0].detach().numpy()]))
        return x + (changed[:, None].to(x.dtype) - x).detach()

    return change


def _opened(x: Tensor) -> Tensor:
    """Bright spots that hold no 3 × 3 square are filled to what is around them."""
    eroded = -F.max_pool2d(-x, 3, stride=1, padding=1)
    return torch.minimum(x, F.max_pool2d(eroded, 3, stride=1, padding=1))


def _checkered(x: Tensor) -> Tensor:
    """The pattern that upsampling by 2 leaves."""
    rows, columns = (torch.arange(n) for n in x.shape[-2:])
    return x + 0.15 * (((rows[:, None] + columns[None]) % 2) * 2.0 - 1)


CHANGES: Mapping[str, Callable[[Tensor], Tensor]] = {
    "true": lambda x: x,
    "blurs": _by_numpy(lambda s: gaussian_filter(s, 1.5)),
    "shifts": _by_numpy(lambda s: shift(s, (1.5, 0), order=1, mode="nearest")),
    "erases": _opened,
    "inverts": lambda x: -x,
    "checkers": _checkered,
}
ANSWERS: Mapping[str, str] = {"paints": "painted", "copies": "training"}
KNOWN_TRANSLATORS = ("true", *tuple(CHANGES)[1:], *ANSWERS, "nothing")


class _Copy(TrueMapping):
    """What it copies does not hang on what the scan shows."""

    def _mapped(self, x: Tensor) -> Tensor:
        return 0 * x


def known_translator(name: str, known: Known, config: Config) -> Translator:
    """One of `KNOWN_TRANSLATORS` as a model, with the true way back.

    Args:
        name: which.
        known: the phantoms' slices.
        config: with slices in the axial plane.
    """
    forward: nn.Module
    if name == "nothing":
        forward = Spoiled(nn.Identity(), lambda x: x)
    elif name == "copies":
        forward = _Copy(known, answer=ANSWERS[name])
    elif name in ANSWERS:
        forward = TrueMapping(known, answer=ANSWERS[name])
    else:
        forward = Spoiled(TrueMapping(known), CHANGES[name])
    scale = FittedScale(center=500.0, half_range=500.0, clip=True)
    generators = {"scan_to_style": forward, "style_to_scan": TrueMapping(known, backward=True)}
    return Translator.from_generators(
        config,
        {direction: generator.eval() for direction, generator in generators.items()},
        scales={"scan": scale, "style": scale},
        channels={"scan": 1, "style": 1},
        integer={"scan": False, "style": False},
        background={"scan": 0.0, "style": 0.0},
        precision="fp32",
    )
