"""How learning rates and weights change over a training.

Learning rates go as CycleGAN's (Zhu et al. 2017): constant, then linear to zero.
"""

from __future__ import annotations

import math

from medstyle_gan.config.loss_section import ScheduledLossConfig


def constant_then_linear(step: int, steps: int, constant_fraction: float) -> float:
    """Factor of the base learning rate at a step.

    Args:
        step: steps done so far, 0 … `steps` - 1.
        steps: length of the whole training.
        constant_fraction: share of the training at the full rate, in [0, 1].

    Returns:
        1 in the constant part, then falling linearly; the step after the last would get 0.
    """
    constant = round(steps * constant_fraction)
    if step < constant or steps == constant:
        return 1.0
    return max(0.0, (steps - step) / (steps - constant))


def weight_factor(step: int, steps: int, section: ScheduledLossConfig) -> float:
    """Factor of a term's weight at a step: 1, then falling to `section.final`.

    Args:
        step: steps done so far, 0 … `steps` - 1.
        steps: length of the whole training.
        section: its `schedule`, `constant_fraction` and `final` are used.

    Returns:
        In [`final`, 1]; the step after the last would get `final`.
    """
    if section.schedule == "constant":
        return 1.0
    left = constant_then_linear(step, steps, section.constant_fraction)
    if section.schedule == "cosine":
        left = (1 - math.cos(math.pi * left)) / 2
    return section.final + (1 - section.final) * left
