"""Can a small classifier tell translations from real style images?

Harmonisation has worked where the site of an image can no longer be told (Glocker et al. 2019,
"Machine learning with multi-site imaging data", arXiv:1910.04597). A logistic regression on simple
features of slices is trained and tried on other subjects, in turn.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, gaussian_gradient_magnitude
from scipy.optimize import minimize
from scipy.special import expit
from scipy.stats import skew

from medstyle_gan.evaluation.hallucination.slice_choice import BodySlice

FOLDS = 5
PENALTY = 1.0
"""Weight of the squared coefficients beside the sum of the log losses (scikit-learn's C = 1)."""

_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_SCALES = (1.0, 2.0, 4.0)  # in-plane voxels of the coarser of both collections

Features = NDArray[np.float64]


def slice_features(shown: BodySlice, pixel: tuple[float, float], unit: float) -> Features:
    """Simple features of a slice's body: how bright, how contrasted, how sharp, how textured.

    Args:
        shown: the slice.
        pixel: its size (mm).
        unit: in-plane voxel size (mm) that scales are told in: the coarsest of all that are
            compared, so that no image shows its resolution alone.

    Returns:
        (13,): quantiles, deviation and skewness of the intensities; at three scales the mean
        gradient and the deviation of the difference of Gaussians.
    """
    inside = shown.image[shown.mask].astype(np.float64)
    numbers = [*np.quantile(inside, _QUANTILES), inside.std()]
    numbers.append(float(skew(inside)) if inside.std() > 1e-6 else 0.0)
    for scale in _SCALES:
        sigma = [scale * unit / step for step in pixel]
        gradient = gaussian_gradient_magnitude(shown.image, sigma)
        band = gaussian_filter(shown.image, sigma) - gaussian_filter(
            shown.image, [1.6 * s for s in sigma]
        )
        numbers += [gradient[shown.mask].mean(), band[shown.mask].std()]
    return np.asarray(numbers, np.float64)


def fit_logistic(
    features: Features, positive: NDArray[np.bool_], penalty: float = PENALTY
) -> Features:
    """Logistic regression with an L2 penalty on all coefficients but the intercept.

    Both classes weigh the same, whatever their number of slices.

    Args:
        features: (N, F), standardised.
        positive: (N,) class.
        penalty: weight of half the squared coefficients beside the sum of log losses.

    Returns:
        (F + 1,) coefficients, the intercept last.
    """
    design = np.column_stack([features, np.ones(len(features))])
    sign = np.where(positive, 1.0, -1.0)
    share = np.where(positive, positive.mean(), 1 - positive.mean())
    weight = 0.5 / share

    def loss(coefficients: Features) -> tuple[float, Features]:
        margin = sign * (design @ coefficients)
        own = np.append(coefficients[:-1], 0.0)
        value = (weight * np.logaddexp(0, -margin)).sum() + penalty / 2 * own @ own
        slope = design.T @ (-weight * sign * expit(-margin)) + penalty * own
        return float(value), slope

    start = np.zeros(design.shape[1])
    result: Features = minimize(loss, start, jac=True, method="L-BFGS-B", options={"gtol": 1e-8}).x
    return result


def cross_validated_accuracy(
    ours: Sequence[Features], real: Sequence[Features], folds: int = FOLDS
) -> float:
    """How often slices of subjects that the classifier has not seen are told rightly.

    Args:
        ours: of each subject (slices, F), for one class.
        real: of each subject, for the other; two subjects at least in both.
        folds: at most so many parts; every one holds subjects of both classes.

    Returns:
        The balanced accuracy: 0.5 by chance, 1 where every slice is told.

    Raises:
        ValueError: a class has fewer than two subjects.
    """
    count = min(folds, len(ours), len(real))
    if count < 2:
        raise ValueError("cross-validation by subject needs two subjects or more of each kind")
    right: dict[bool, list[NDArray[np.bool_]]] = {True: [], False: []}
    for fold in range(count):
        train = [
            (subject, kind)
            for kind, subjects in ((True, ours), (False, real))
            for index, subject in enumerate(subjects)
            if index % count != fold
        ]
        features = np.concatenate([subject for subject, _ in train])
        positive = np.concatenate([np.full(len(subject), kind) for subject, kind in train])
        center, spread = features.mean(axis=0), np.maximum(features.std(axis=0), 1e-9)
        coefficients = fit_logistic((features - center) / spread, positive)
        for kind, subjects in ((True, ours), (False, real)):
            for subject in subjects[fold::count]:
                score = (subject - center) / spread @ coefficients[:-1] + coefficients[-1]
                right[kind].append((score > 0) == kind)
    return float(np.mean([np.concatenate(right[kind]).mean() for kind in (True, False)]))
