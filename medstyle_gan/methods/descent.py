"""Lowers an objective over a picture: L-BFGS (Liu & Nocedal 1989) or Adam, and says how it went."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from medstyle_gan.methods.picture_objective import Evaluation

Objective = Callable[[Tensor], Evaluation]
_LEARNING_RATE = {"lbfgs": 1.0, "adam": 0.02}
# A step that is not finite begins again from the best picture with steps this much shorter.
_SHORTER = 0.1
_ATTEMPTS = 3
_LINE_SEARCH = 25  # evaluations in a line search at most


class _NotFinite(Exception):
    """Loss or gradient is NaN or infinite."""


@dataclass
class Descent:
    """Where a descent came to.

    Attributes:
        picture: the one with the lowest loss.
        curve: the evaluation after each iteration, without gradients kept.
        evaluations: how often the objective was computed.
        ended: why: `converged`, `all steps` or `not finite`.
    """

    picture: Tensor
    curve: list[tuple[float, dict[str, float]]] = field(default_factory=list)
    evaluations: int = 0
    ended: str = "all steps"


class _Remembering:
    """An objective that is not computed twice at the same picture, and keeps the best one."""

    def __init__(self, objective: Objective) -> None:
        self._objective = objective
        self._at: Tensor | None = None
        self._last: Evaluation | None = None
        self.count = 0
        self.best: Tensor | None = None
        self.lowest = float("inf")

    def __call__(self, picture: Tensor) -> Evaluation:
        # A line search mostly ends where it looked last, and the next one begins there.
        if self._last is None or self._at is None or not torch.equal(self._at, picture):
            evaluation = self._objective(picture)
            self.count += 1
            if not evaluation.finite:
                raise _NotFinite
            self._at, self._last = picture.detach().clone(), evaluation
            if evaluation.loss < self.lowest:
                self.best, self.lowest = self._at, evaluation.loss
        return self._last


def descend(
    objective: Objective,
    start: Tensor,
    *,
    optimizer: str = "lbfgs",
    steps: int = 300,
    learning_rate: float | None = None,
    history: int = 100,
    tolerance: float = 0.0,
    patience: int = 20,
    on_iteration: Callable[[int, Evaluation], None] = lambda number, evaluation: None,
    on_message: Callable[[str], None] = lambda message: None,
) -> Descent:
    """Lower an objective.

    L-BFGS takes its steps by a line search that fulfils the strong Wolfe conditions, so its loss
    never rises. Where loss or gradient is not finite, the descent begins again from the best
    picture so far with a tenth of the learning rate, the last time with Adam, and says so.

    Args:
        objective: gives loss and gradient.
        start: the picture to begin from.
        optimizer: `lbfgs` or `adam`.
        steps: iterations.
        learning_rate: of Adam, or factor of L-BFGS's first step in each line search; None is
            0.02 or 1.
        history: steps that L-BFGS remembers.
        tolerance: the descent ends where `patience` iterations lower the loss by less than
            this share of it.
        patience: see `tolerance`.
        on_iteration: takes iterations done and the evaluation after each.
        on_message: takes what the user should know.

    Raises:
        ValueError: the objective is not finite at the start.
    """
    remembering = _Remembering(objective)
    try:
        first = remembering(start)
    except _NotFinite:
        raise ValueError("the loss or its gradient is not finite at the first picture") from None
    descent = Descent(start.detach().clone())
    # Where the loss is 1 at the start, torch's absolute thresholds fit any weights.
    scale = 1 / first.loss if first.loss > 0 else 1.0
    rate = learning_rate or _LEARNING_RATE[optimizer]
    for attempt in range(_ATTEMPTS):
        assert remembering.best is not None
        picture = remembering.best.clone().requires_grad_()
        step = _stepping(optimizer, picture, remembering, scale, rate, history)
        try:
            descent.ended = _iterate(
                step, picture, remembering, descent, steps, tolerance, patience, on_iteration
            )
            break
        except _NotFinite:
            descent.ended = "not finite"
            done = f"after {len(descent.curve)} of {steps} iterations the loss was not finite"
            if attempt + 1 == _ATTEMPTS:
                on_message(f"{done} again: the best picture so far is the result")
                break
            optimizer = "adam" if attempt + 2 == _ATTEMPTS else optimizer
            rate = _SHORTER * (rate if optimizer == "lbfgs" else _LEARNING_RATE["adam"])
            on_message(f"{done}: going on from the best one with {optimizer} at rate {rate:g}")
    assert remembering.best is not None
    descent.picture, descent.evaluations = remembering.best, remembering.count
    return descent


def _stepping(
    name: str, picture: Tensor, objective: _Remembering, scale: float, rate: float, history: int
) -> Callable[[], object]:
    def closure() -> float:
        evaluation = objective(picture)
        picture.grad = evaluation.gradient * scale
        return evaluation.loss * scale

    if name == "adam":
        adam = torch.optim.Adam([picture], lr=rate)
        return lambda: adam.step(closure)
    # One iteration a call, so that each can be shown and judged; the memory is kept between.
    lbfgs = torch.optim.LBFGS(
        [picture],
        lr=rate,
        max_iter=1,
        max_eval=1 + _LINE_SEARCH,
        history_size=history,
        tolerance_grad=0,
        tolerance_change=0,
        line_search_fn="strong_wolfe",
    )
    return lambda: lbfgs.step(closure)


def _iterate(
    step: Callable[[], object],
    picture: Tensor,
    objective: _Remembering,
    descent: Descent,
    steps: int,
    tolerance: float,
    patience: int,
    on_iteration: Callable[[int, Evaluation], None],
) -> str:
    """Iterate until something ends it, and say what."""
    losses = [objective(picture.detach()).loss]
    while len(descent.curve) < steps:
        if losses[-1] == 0:
            return "converged"
        before = picture.detach().clone()
        step()
        evaluation = objective(picture.detach())
        descent.curve.append((evaluation.loss, evaluation.parts))
        losses.append(evaluation.loss)
        on_iteration(len(descent.curve), evaluation)
        if torch.equal(before, picture):  # no step lowers the loss within the numbers' precision
            return "converged"
        if tolerance and len(losses) > patience:
            earlier = losses[-1 - patience]
            if earlier - losses[-1] < tolerance * earlier:
                return "converged"
    return "all steps"
