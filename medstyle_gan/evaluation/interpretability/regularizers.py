"""What each term of the loss weighed while the generators were trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medstyle_gan.config.loss_section import LossConfig

_PREFIX = "loss/"
# Not parts of the generators' loss, or its sum.
_OTHERS = ("generator", "discriminator_", "gradient_penalty_", "zero_centred_penalty_")


@dataclass(frozen=True)
class LossParts:
    """Terms of the generators' loss over training.

    Attributes:
        steps: (n,) rising.
        parts: term → (n,) its weight times its value, both directions together; the terms in
            the order of their mean share, the largest first.
        unknown: terms whose weight the config does not tell; they are in no part.
    """

    steps: NDArray[np.int64]
    parts: Mapping[str, NDArray[np.float64]]
    unknown: tuple[str, ...] = ()

    @property
    def shares(self) -> dict[str, NDArray[np.float64]]:
        """Term → (n,) its share of the sum of all terms' sizes, in [0, 1]."""
        total = np.sum([np.abs(part) for part in self.parts.values()], axis=0)
        safe = np.where(total > 0, total, 1)
        return {name: np.abs(part) / safe for name, part in self.parts.items()}


def loss_parts(rows: Sequence[Mapping[str, float]], loss: LossConfig) -> LossParts | None:
    """Weighs the losses that a run has logged.

    Terms that act at every n-th step are logged where they act and pull with n times their weight
    there, so that over all steps their part is the plain weight times the value.

    Args:
        rows: of `metrics.csv`, by step; what a row does not have is left out of it.
        loss: the run's settings, whose weights are taken.

    Returns:
        None where no row has a loss.
    """
    rows = [row for row in rows if f"{_PREFIX}generator" in row]
    if not rows:
        return None
    names = {name.removeprefix(_PREFIX) for row in rows for name in row if name.startswith(_PREFIX)}
    weights = _weights(loss)
    together: dict[str, NDArray[np.float64]] = {}
    unknown = []
    for name in sorted(names):
        if name.startswith(_OTHERS):
            continue
        term = max((t for t in weights if name.startswith(t)), key=len, default=None)
        if term is None:
            unknown.append(name)
            continue
        values = _filled([row.get(_PREFIX + name, float("nan")) for row in rows])
        together[term] = together.get(term, np.zeros(len(rows))) + weights[term] * values
    ordered = sorted(together, key=lambda term: -float(np.abs(together[term]).mean()))
    steps = np.array([int(row["step"]) for row in rows])
    return LossParts(steps, {term: together[term] for term in ordered}, tuple(unknown))


def _weights(loss: LossConfig) -> dict[str, float]:
    """The beginning of a logged name → the weight of its term."""
    weights = {
        name: float(section.weight)
        for name in type(loss).model_fields
        if hasattr(section := getattr(loss, name), "weight")
    }
    weights["perceptual_reconstruction"] = loss.perceptual.reconstruction_weight
    weights["contrastive_identity"] = loss.contrastive.identity_weight
    # Of a weight that falls, its full one.
    weights |= {name: float(term.weight) for name, term in loss.structure.terms.items()}
    return weights


def _filled(values: Sequence[float]) -> NDArray[np.float64]:
    """A term that did not act in a row's steps is taken from the rows around it."""
    array = np.array(values, dtype=np.float64)
    known = np.flatnonzero(np.isfinite(array))
    if not len(known):
        return np.zeros(len(array))
    return np.interp(np.arange(len(array)), known, array[known])
