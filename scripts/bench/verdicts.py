"""Ratios beside their targets, as every benchmark prints them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def verdict_lines(ratios: Sequence[Mapping[str, Any]]) -> list[str]:
    """Each ratio beside its target.

    Args:
        ratios: each with `name`, `value` and `target`; `at_least` where more is better, and
            `rounds`, the smallest and largest ratio of a round.
    """
    lines = []
    for ratio in ratios:
        at_least = ratio.get("at_least", False)
        value, target = ratio["value"], ratio["target"]
        met = "met" if (value >= target if at_least else value <= target) else "MISSED"
        sign = "≥" if at_least else "≤"
        spread = ratio.get("rounds")
        rounds = f"  (rounds {spread[0]:.3f} to {spread[1]:.3f})" if spread else ""
        lines.append(f"  {ratio['name']:40} {value:.3f}  target {sign} {target}: {met}{rounds}")
    return lines
