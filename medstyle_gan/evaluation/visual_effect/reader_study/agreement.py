"""Do readers agree with each other more than chance would have it?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torchmetrics.functional.classification import multiclass_cohen_kappa
from torchmetrics.functional.nominal import fleiss_kappa


def agreement(answers: Sequence[Sequence[int]], categories: int, ordered: bool = False) -> float:
    """Kappa of readers who rated the same slices: Cohen's (1960) of two, Fleiss' (1971) of more.

    Args:
        answers: of each reader, at least two, the category of each slice, from 0.
        categories: how many there are.
        ordered: of two readers, count an answer that is off by more as more of a disagreement
            (quadratic weights); Fleiss' kappa has no weights.

    Returns:
        1 where all agree, 0 where they do as chance would have it; NaN where all gave one and the
        same answer throughout, so that there is nothing to agree on.
    """
    table = torch.tensor(np.asarray(answers))
    if len(table) < 2 or table.shape[1] == 0 or len(table.unique()) < 2:
        return float("nan")
    if len(table) == 2:
        weights: Literal["quadratic"] | None = "quadratic" if ordered else None
        return float(multiclass_cohen_kappa(table[0], table[1], categories, weights=weights))
    counts = torch.stack([(table == category).sum(dim=0) for category in range(categories)], dim=1)
    return float(fleiss_kappa(counts, mode="counts"))
