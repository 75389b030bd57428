from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor

from medstyle_gan.methods.descent import descend
from medstyle_gan.methods.picture_objective import Evaluation

Objective = Callable[[Tensor], Evaluation]


def valley(scale: float = 1.0) -> Objective:
    """Rosenbrock's valley over 4x5 pixels, whose floor is at 1 everywhere."""

    def at(picture: Tensor) -> Evaluation:
        x = picture.detach().double().flatten().requires_grad_()
        loss = (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum() * scale
        (gradient,) = torch.autograd.grad(loss, x)
        return Evaluation(
            float(loss.detach()), {"valley": float(loss.detach())}, gradient.view_as(picture)
        )

    return at


def start() -> Tensor:
    return torch.zeros(1, 1, 4, 5, dtype=torch.float64)


@pytest.mark.parametrize("scale", [1.0, 1e-9, 1e9])
def test_lbfgs_reaches_the_minimum_whatever_the_weights_and_never_rises(scale: float) -> None:
    descent = descend(valley(scale), start(), steps=200)
    torch.testing.assert_close(descent.picture, torch.ones_like(start()), atol=1e-4, rtol=0)
    losses = [loss for loss, _ in descent.curve]
    assert all(later <= earlier for earlier, later in itertools.pairwise(losses))


def test_lbfgs_needs_about_as_many_evaluations_as_scipys() -> None:
    at = valley()

    def flat(x: object) -> tuple[float, object]:
        evaluation = at(torch.as_tensor(x).view(1, 1, 4, 5))
        return evaluation.loss, evaluation.gradient.flatten().numpy()

    theirs = minimize(flat, start().flatten().numpy(), jac=True, method="L-BFGS-B")
    ours = descend(valley(), start(), steps=theirs.nit)
    assert ours.evaluations < 2 * theirs.nfev


def test_adam_lowers_the_loss() -> None:
    descent = descend(valley(), start(), optimizer="adam", steps=50, learning_rate=0.1)
    assert descent.curve[-1][0] < 0.8 * valley()(start()).loss
    assert len(descent.curve) == 50
    assert descent.evaluations == 51


def test_it_ends_when_nothing_is_gained() -> None:
    descent = descend(valley(), start(), steps=1000, tolerance=1e-2, patience=5)
    assert descent.ended == "converged"
    assert len(descent.curve) < 200


def test_a_perfect_start_is_left_alone() -> None:
    descent = descend(valley(), torch.ones_like(start()))
    assert (descent.curve, descent.ended) == ([], "converged")
    assert torch.equal(descent.picture, torch.ones_like(start()))


def broken(*calls: int) -> Objective:
    at, seen = valley(), 0

    def sometimes(picture: Tensor) -> Evaluation:
        nonlocal seen
        seen += 1
        evaluation = at(picture)
        if seen in calls:
            return Evaluation(evaluation.loss, {}, evaluation.gradient * float("nan"))
        return evaluation

    return sometimes


def test_a_step_that_is_not_finite_falls_back_from_the_best_picture_and_says_so() -> None:
    messages: list[str] = []
    descent = descend(broken(9), start(), steps=200, on_message=messages.append)
    torch.testing.assert_close(descent.picture, torch.ones_like(start()), atol=1e-3, rtol=0)
    assert len(messages) == 1
    assert "lbfgs at rate 0.1" in messages[0]


def test_the_second_fall_back_is_adam_and_the_third_gives_the_best_there_is() -> None:
    messages: list[str] = []
    descent = descend(broken(9, 14, 20), start(), steps=200, on_message=messages.append)
    assert "adam" in messages[1]
    assert "the best picture so far is the result" in messages[2]
    assert descent.ended == "not finite"
    best = min(loss for loss, _ in descent.curve)
    assert valley()(descent.picture).loss == pytest.approx(best)


def test_a_start_that_is_not_finite_is_refused() -> None:
    with pytest.raises(ValueError, match="not finite"):
        descend(broken(1), start())
