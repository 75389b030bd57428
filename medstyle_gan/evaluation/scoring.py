"""Figures for held-out pairs: of the translation and of what needs no network, side by side.

Protocol: volumes are compared in [-1, 1] units, each real volume by its own intensity scale
(`data.intensity`; MR has no units of its own), inside the pair's mask, with a data range of 2.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medstyle_gan.config import Config
from medstyle_gan.evaluation.chapter import TRANSLATION
from medstyle_gan.evaluation.comparison import Comparison, compare_pairs
from medstyle_gan.evaluation.fidelity import fidelity, rank_correlation
from medstyle_gan.evaluation.pairs import Pair
from medstyle_gan.inference import Translator

METRICS = ("psnr", "ssim", "mae", "spearman")
UNIT_RANGE = 2.0


@dataclass(frozen=True)
class ScoreRow:
    """The figures of one way to get the style volume.

    Attributes:
        subject: The pair's name, or `mean`.
        grid: See `Comparison`, or another grid's name.
        name: `translation` or a reference's name.
        psnr: dB.
        ssim: At most 1.
        mae: In [-1, 1] units.
        spearman: Rank correlation with the truth, in [-1, 1].
    """

    subject: str
    grid: str
    name: str
    psnr: float
    ssim: float
    mae: float
    spearman: float


def unit_scores(
    candidate: NDArray[np.floating], truth: NDArray[np.floating], mask: NDArray[np.bool_]
) -> dict[str, float]:
    """Returns PSNR, SSIM, MAE and Spearman's correlation of (X, Y, Z) arrays in [-1, 1]."""
    return fidelity(candidate, truth, mask, UNIT_RANGE) | {
        "spearman": rank_correlation(candidate, truth, mask)
    }


def score_comparison(comparison: Comparison) -> list[ScoreRow]:
    """Returns a row for each candidate of the comparison."""
    return [
        ScoreRow(
            comparison.subject,
            comparison.grid,
            name,
            **unit_scores(candidate, comparison.truth, comparison.mask),
        )
        for name, candidate in comparison.candidates.items()
    ]


def score_rows(translator: Translator, pairs: Sequence[Pair], config: Config) -> list[ScoreRow]:
    """Scores translations at the network's grid, as validation does.

    Args:
        translator: The model, trained or in training.
        pairs: What to score on.
        config: See `compare_pairs`.

    Returns:
        A row for each pair.

    Raises:
        UserError: See `compare_pairs`.
    """
    return [
        row
        for comparison in compare_pairs(translator, pairs, config, grids=("network",))
        for row in score_comparison(comparison)
    ]


def mean_scores(rows: Sequence[ScoreRow]) -> dict[str, float]:
    """Returns `psnr`, `ssim`, `mae` and `spearman`, means over the rows of one grid and name."""
    (mean,) = mean_rows(rows)
    return {metric: getattr(mean, metric) for metric in METRICS}


def mean_rows(rows: Iterable[ScoreRow]) -> list[ScoreRow]:
    """Returns the mean over subjects for each grid and name, in order of appearance."""
    groups: dict[tuple[str, str], list[ScoreRow]] = {}
    for row in rows:
        groups.setdefault((row.grid, row.name), []).append(row)
    return [
        ScoreRow(
            "mean",
            grid,
            name,
            **{metric: float(np.mean([getattr(r, metric) for r in group])) for metric in METRICS},
        )
        for (grid, name), group in groups.items()
    ]


def format_table(rows: Sequence[ScoreRow]) -> str:
    """Returns rows as an aligned text table, the translation first in each block."""
    cells = [
        [
            row.subject,
            row.grid,
            row.name.replace("_", " "),
            f"{row.psnr:.2f}",
            f"{row.ssim:.3f}",
            f"{row.mae:.3f}",
            f"{row.spearman:.3f}",
        ]
        for row in rows
    ]
    header = ["subject", "grid", "", "PSNR dB", "SSIM", "MAE", "Spearman"]
    widths = [max(map(len, column)) for column in zip(header, *cells, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if i < 3 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in [header, *cells]
    ]
    return "\n".join(lines)


def rows_as_json(rows: Sequence[ScoreRow]) -> list[dict[str, Any]]:
    """Returns rows as plain values; an infinite PSNR, which JSON cannot hold, becomes null."""
    return [{key: _finite(value) for key, value in asdict(row).items()} for row in rows]


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def beats_all(rows: Sequence[ScoreRow], metrics: Sequence[str] = ("psnr", "ssim", "mae")) -> bool:
    """Whether, for every subject and grid, the translation is best of all in every metric."""
    ours: Mapping[tuple[str, str], ScoreRow] = {
        (row.subject, row.grid): row for row in rows if row.name == TRANSLATION
    }
    return all(
        getattr(ours[row.subject, row.grid], metric) < getattr(row, metric)
        if metric == "mae"
        else getattr(ours[row.subject, row.grid], metric) > getattr(row, metric)
        for row in rows
        if row.name != TRANSLATION
        for metric in metrics
    )
