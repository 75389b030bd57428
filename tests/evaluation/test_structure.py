from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import correlate, distance_transform_edt, gaussian_filter, map_coordinates, sobel
from scipy.ndimage import shift as shifted

from medstyle_gan.config import Config
from medstyle_gan.evaluation.chapter import TRANSLATION, Subject
from medstyle_gan.evaluation.context import EvaluationContext
from medstyle_gan.evaluation.structure import (
    body_agreement,
    edge_shift,
    edges,
    equivariance_errors,
    gradient_correlation,
    local_edge_shift,
    mind,
    mind_distance,
    run,
)
from tests.evaluation.phantom_subjects import phantom_subject

SPACING = (1.0, 1.0, 1.0)


@pytest.fixture(scope="module")
def subject() -> Subject:
    return phantom_subject(5)


@pytest.fixture(scope="module")
def blobs() -> np.ndarray:
    noise = np.random.default_rng(0).normal(size=(40, 40, 20))
    return gaussian_filter(noise, 2).astype(np.float32) * 20


def test_edges_are_a_gradient_in_millimetres() -> None:
    x = np.arange(30.0)[:, None, None] * np.ones((1, 12, 12))
    slope = edges(x * 0.5, (2.0, 1.0, 1.0))
    assert slope[10:20] == pytest.approx(0.25, rel=1e-4)


def test_edges_agree_with_sobels(blobs: np.ndarray) -> None:
    """Another filter of about the same width: the same edges but for a factor."""
    theirs = np.sqrt(sum(sobel(blobs, axis) ** 2 for axis in range(3)))
    ours = edges(blobs, SPACING)
    assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.98


@pytest.mark.parametrize("change", [lambda a: -a, lambda a: 3 * a + 1])
def test_gradient_correlation_does_not_see_contrast(blobs: np.ndarray, change) -> None:
    mask = np.ones(blobs.shape, bool)
    ours, theirs = edges(blobs, SPACING), edges(change(blobs), SPACING)
    assert gradient_correlation(ours, theirs, mask) == pytest.approx(1, abs=1e-5)


def test_gradient_correlation_sees_other_anatomy(blobs: np.ndarray) -> None:
    mask = np.ones(blobs.shape, bool)
    ours, theirs = edges(blobs, SPACING), edges(blobs[::-1], SPACING)
    assert abs(gradient_correlation(ours, theirs, mask)) < 0.2
    assert gradient_correlation(ours, np.zeros_like(ours), mask) == 0


def test_mind_is_the_papers_formula(blobs: np.ndarray) -> None:
    """With the patch distance as a sum over an explicit kernel, at an inner voxel."""
    part = blobs[:9, :9, :9]
    reach = np.arange(-2, 3)
    weights = np.exp(-0.5 * (reach / 0.5) ** 2)
    kernel = np.einsum("i,j,k", *[weights / weights.sum()] * 3)
    distances = []
    for axis in range(3):
        for step in (1, -1):
            moved = np.roll(part, -step, axis)
            distances.append(correlate((part - moved) ** 2, kernel)[4, 4, 4])
    expected = np.exp(-np.array(distances) / np.mean(distances))
    ours = mind(part)[:, 4, 4, 4]
    assert ours == pytest.approx(expected / expected.max(), rel=2e-3)


@pytest.mark.parametrize("change", [lambda a: -a, lambda a: 3 * a + 1])
def test_mind_does_not_see_contrast(blobs: np.ndarray, change) -> None:
    mask = np.ones(blobs.shape, bool)
    assert mind_distance(mind(blobs), mind(change(blobs)), mask) < 1e-4
    assert mind_distance(mind(blobs), mind(blobs[::-1]), mask) > 0.1
    assert mind_distance(mind(np.ones_like(blobs)), mind(np.zeros_like(blobs)), mask) == 0


@pytest.mark.parametrize("by", [(1.5, 0, 0), (0, -2.3, 0), (0.4, 0.3, -1.0)])
def test_a_shift_is_found(blobs: np.ndarray, by: tuple[float, ...]) -> None:
    x, y, z = np.indices(blobs.shape)
    mask = ((x - 20) / 14) ** 2 + ((y - 20) / 14) ** 2 + ((z - 10) / 7) ** 2 < 1
    body = blobs * gaussian_filter(mask.astype(np.float32), 1)
    moved = shifted(body, by, order=3, mode="nearest")
    found = edge_shift(edges(body, SPACING), edges(-moved, SPACING), mask)
    assert -found == pytest.approx(by, abs=0.2)


def test_a_deformation_is_found_where_it_is(blobs: np.ndarray) -> None:
    grid = np.indices(blobs.shape).astype(float)
    grid[0] += 2.0 * (grid[1] > 20)  # only the front moves, by two voxels
    moved = map_coordinates(blobs, grid, order=1, mode="nearest")
    mask = np.ones(blobs.shape, bool)
    local = local_edge_shift(edges(blobs, SPACING), edges(moved, SPACING), mask)
    sizes = np.linalg.norm(local, axis=1)
    assert np.quantile(sizes, 0.25) < 0.5
    assert np.quantile(sizes, 0.85) == pytest.approx(2, abs=0.4)


def test_body_agreement_is_a_closed_form() -> None:
    first = np.zeros((30, 20, 10), bool)
    first[5:15, 5:15] = True
    second = np.roll(first, 4, 0)
    dice, distance = body_agreement(first, second, (2.0, 1.0, 1.0))
    assert dice == pytest.approx(2 * 6 / 20)
    # Both ways at most 4 voxels of 2 mm: scipy's distances between surfaces say the same.
    outside = distance_transform_edt(~first, sampling=(2.0, 1.0, 1.0))
    assert distance == pytest.approx(outside[second].max())
    assert body_agreement(first, first, SPACING) == (1.0, 0.0)


def test_equivariance_of_what_is_pixelwise_and_of_what_is_not(subject: Subject) -> None:
    pixelwise = equivariance_errors(lambda scan, mask: scan**3, subject)
    assert pixelwise["flip"] == pixelwise["shift"] == 0
    assert pixelwise["rotation"] < 0.02
    ramp = np.linspace(-1, 1, subject.scan.shape[0], dtype=np.float32)[:, None, None]
    placed = equivariance_errors(lambda scan, mask: scan + ramp, subject)
    assert placed["flip"] > 0.1
    assert placed["shift"] == pytest.approx(3 / (len(ramp) - 1), rel=0.5)


def test_what_does_nothing_has_moved_nothing(subject: Subject) -> None:
    chapter = run([subject], {TRANSLATION: lambda scan, mask: scan}, EvaluationContext(Config()))
    values = {f.name: f.value for f in chapter.figures if f.candidate == TRANSLATION}
    assert values["gradient_correlation"] == pytest.approx(1)
    assert values["mind"] == values["edge_shift"] == 0
    assert values["local_edge_shift"] < 0.15  # its window is on one side only
    assert values["mutual_information"] == pytest.approx(2)
    assert values["body_dice"] == 1
    assert values["hd95"] == 0
    truth = {f.name: f.value for f in chapter.figures if f.candidate == "truth"}
    assert truth["edge_shift"] < 0.35
    assert 0 < truth["gradient_correlation"] < 1
