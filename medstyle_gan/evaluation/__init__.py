"""Is a translation faithful? Figures against the truth, and beside what needs no network."""

from __future__ import annotations

from medstyle_gan.evaluation.comparison import GRIDS, Comparison, GridName, compare_pairs
from medstyle_gan.evaluation.consistency import adjacent_slice_difference, slice_consistency
from medstyle_gan.evaluation.distribution import sliced_wasserstein_distance, smallest_side
from medstyle_gan.evaluation.fidelity import fidelity, rank_correlation, ssim_map
from medstyle_gan.evaluation.montage import write_montage
from medstyle_gan.evaluation.pairs import Pair, find_pairs
from medstyle_gan.evaluation.references import REFERENCES, Reference, fit_references
from medstyle_gan.evaluation.scoring import (
    ScoreRow,
    beats_all,
    format_table,
    mean_rows,
    mean_scores,
    rows_as_json,
    score_comparison,
    score_rows,
    unit_scores,
)

__all__ = [
    "GRIDS",
    "REFERENCES",
    "Comparison",
    "GridName",
    "Pair",
    "Reference",
    "ScoreRow",
    "adjacent_slice_difference",
    "beats_all",
    "compare_pairs",
    "fidelity",
    "find_pairs",
    "fit_references",
    "format_table",
    "mean_rows",
    "mean_scores",
    "rank_correlation",
    "rows_as_json",
    "score_comparison",
    "score_rows",
    "slice_consistency",
    "sliced_wasserstein_distance",
    "smallest_side",
    "ssim_map",
    "unit_scores",
    "write_montage",
]
