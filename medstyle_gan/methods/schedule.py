"""The learning-rate schedule of CycleGAN (Zhu et al. 2017): constant, then linear to zero."""

from __future__ import annotations


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
