"""A training whose numbers are no longer finite: one message, and nothing saved of it."""

from __future__ import annotations

from pathlib import Path

import torch

from medstyle_gan.errors import UserError
from medstyle_gan.methods import TrainedMethod


def diverged(step: int, what: str, last_good: Path) -> UserError:
    """The error that ends a diverged training.

    Args:
        step: where it is noticed.
        what: what is not finite, as a clause.
        last_good: the latest checkpoint, which is kept; it need not exist.
    """
    kept = f"{last_good} is of an earlier step and is kept" if last_good.exists() else ""
    return UserError(
        f"the training diverged before step {step}: {what}; nothing of this step was saved. "
        "Start a new run with smaller loss weights or learning rates (in the section method), "
        f"with method.gradient_clip=1 or training.precision=fp32. {kept}".rstrip()
    )


def refuse_diverged(method: TrainedMethod, last_good: Path) -> None:
    """Keep the last good checkpoint where weights are not finite.

    Raises:
        UserError: naming the networks.
    """
    bad = [
        name
        for name, network in method.trained_networks().items()
        if not all(bool(torch.isfinite(p).all()) for p in network.parameters())
    ]
    if bad:
        raise diverged(method.step, f"{', '.join(bad)} hold NaN or infinite weights", last_good)
