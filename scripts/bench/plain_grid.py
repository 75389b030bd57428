"""The protocol of the figures that were measured for other code before this one.

As closely as could be found out: native volumes resampled to 1.8 mm in plane without smoothing,
SSIM in uniform windows of 7 pixels. Its figures compare with those only for a model whose
intensity scales are the percentiles 1 to 99 of the foreground.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import zoom
from skimage.metrics import structural_similarity

from medstyle_gan.evaluation import Comparison, ScoreRow, unit_scores

PLAIN = "plain 1.8 mm"
_SPACING = 1.8


def score_plainly(comparison: Comparison) -> list[ScoreRow]:
    """Scores by the earlier protocol.

    Args:
        comparison: on the native grid, axial.
    """
    factors = [step / _SPACING for step in comparison.spacing[:2]] + [1.0]
    truth = zoom(comparison.truth, factors, order=1)
    mask = zoom(comparison.mask.astype(np.float32), factors, order=1) > 0.5
    rows = []
    for name, candidate in comparison.candidates.items():
        image = zoom(candidate, factors, order=1)
        similarity = [
            structural_similarity(image[..., z], truth[..., z], data_range=2, full=True)[1]
            for z in range(truth.shape[2])
        ]
        scores = unit_scores(image, truth, mask)
        scores["ssim"] = float(np.stack(similarity, axis=2)[mask].mean())
        rows.append(ScoreRow(comparison.subject, PLAIN, name, **scores))
    return rows
