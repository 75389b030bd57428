from __future__ import annotations

from itertools import pairwise

import pytest

from medstyle_gan.methods.schedule import constant_then_linear


@pytest.mark.parametrize("step", [0, 25, 49])
def test_rate_is_full_in_the_constant_part(step: int) -> None:
    assert constant_then_linear(step, 100, 0.5) == 1


def test_rate_falls_by_equal_amounts_and_would_reach_zero_after_the_last_step() -> None:
    factors = [constant_then_linear(step, 100, 0.5) for step in range(50, 101)]
    falls = [a - b for a, b in pairwise(factors)]
    assert falls == pytest.approx([1 / 50] * 50)
    assert factors[-1] == 0
    assert factors[-2] > 0


def test_rate_never_falls_when_all_is_constant() -> None:
    assert {constant_then_linear(step, 10, 1.0) for step in range(10)} == {1.0}
