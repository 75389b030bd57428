from __future__ import annotations

import numpy as np
import pytest

from medstyle_gan.evaluation.hallucination.blobs import ball, place
from medstyle_gan.evaluation.hallucination.matched_filter import (
    Response,
    filter_response,
    matched_filter,
)

SPACING = (1.0, 1.0, 1.5)


def test_the_response_is_the_least_squares_contrast_over_an_even_background(rng) -> None:
    shape = ball(6.0, SPACING, 3.0)
    values = 0.7 * shape - 0.3 + 0.05 * rng.standard_normal(shape.shape)
    slope, _ = np.polyfit(shape.ravel(), values.ravel(), 1)
    assert filter_response(values, shape) == pytest.approx(slope)


@pytest.mark.parametrize("contrast", [0.4, -0.25])
def test_a_lesion_in_noise_is_found_with_its_contrast_and_the_noises_level(rng, contrast) -> None:
    shape = ball(6.0, SPACING, 3.0)
    difference = 0.2 + 0.1 * rng.standard_normal((40, 40, 24))
    box, inside = place(shape, (20, 20, 12), difference.shape)
    background = np.ones(difference.shape, bool)
    background[box] = False
    difference[box] += contrast * inside
    found = matched_filter(difference, shape, (20, 20, 12), np.flatnonzero(background), rng)
    template = shape - shape.mean()
    expected = 0.1 / float(np.sqrt((template * shape).sum()))  # of white noise, in closed form
    assert found.contrast == pytest.approx(contrast, abs=4 * expected)
    assert found.noise == pytest.approx(expected, rel=0.35)
    assert found.visible(2.0)


@pytest.mark.parametrize(
    ("contrast", "noise", "visible"),
    [
        (0.2, 0.05, True),
        (0.2, 0.08, False),  # CNR 2.5
        (0.04, 0.0, False),  # would not be seen, whatever the noise
        (0.06, 0.0, True),
        (-0.06, 0.0, True),
        (0.0, 0.0, False),
    ],
)
def test_visible_takes_contrast_to_noise_and_contrast_that_the_eye_sees(
    contrast, noise, visible
) -> None:
    assert Response(contrast, noise).visible(1.0) == visible


def test_a_shape_that_fills_its_box_cannot_be_looked_for() -> None:
    with pytest.raises(ValueError, match="nothing is around it"):
        filter_response(np.zeros((3, 3, 3)), np.ones((3, 3, 3)))
