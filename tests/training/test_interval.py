from __future__ import annotations

import math

import pytest
import torch

from medstyle_gan.training.interval import IntervalMeans


def test_mean_is_over_the_steps_in_which_a_name_occurs() -> None:
    means = IntervalMeans()
    for step in range(1, 9):
        scalars = {"every": torch.tensor(float(step))}
        if step % 4 == 0:
            scalars["lazy"] = torch.tensor(float(step))
        means.add(scalars)

    assert means.means() == {"every": 4.5, "lazy": 6.0}


@pytest.mark.parametrize("steps", [1, 255, 256, 257, 1000])
def test_mean_does_not_depend_on_how_many_steps_are_held(steps: int) -> None:
    values = torch.randn(steps, generator=torch.Generator().manual_seed(0))
    means = IntervalMeans()
    for value in values:
        means.add({"x": value})

    assert means.means()["x"] == pytest.approx(values.double().mean().item(), rel=1e-12)


def test_cleared_interval_begins_anew() -> None:
    means = IntervalMeans()
    means.add({"x": torch.tensor(5.0)})
    means.clear()
    means.add({"y": torch.tensor(1.0)})

    assert means.means() == {"y": 1.0}


def test_interval_goes_on_from_its_state() -> None:
    whole, first, second = IntervalMeans(), IntervalMeans(), IntervalMeans()
    for step in range(10):
        scalars = {"x": torch.tensor(float(step))}
        whole.add(scalars)
        (first if step < 6 else second).add(scalars)
        if step == 5:
            second.load_state_dict(first.state_dict())

    assert second.means() == whole.means()


def test_loss_that_is_not_a_number_shows() -> None:
    means = IntervalMeans()
    means.add({"x": torch.tensor(1.0)})
    means.add({"x": torch.tensor(float("nan"))})

    assert math.isnan(means.means()["x"])
