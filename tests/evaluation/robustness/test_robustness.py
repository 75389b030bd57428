from __future__ import annotations

import io
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from medstyle_gan.config import load_config
from medstyle_gan.data.phantom import make_phantom
from medstyle_gan.evaluation import ssim_map
from medstyle_gan.evaluation.chapter import Subject
from medstyle_gan.evaluation.context import EvaluationContext
from medstyle_gan.evaluation.robustness import CORRUPTIONS, Curve, curves, run
from medstyle_gan.evaluation.robustness.scoring import gradient_correlation, middle_slab

SHAPE = (40, 40, 12)


def unit(array, mask):
    low, high = np.percentile(array[mask], (0.5, 99.5))
    return (2 * (array - low) / (high - low) - 1).clip(-1, 1).astype(np.float32)


@pytest.fixture(scope="module")
def subject() -> Subject:
    phantom = make_phantom(3, SHAPE)
    scan = unit(phantom.scan, phantom.mask)
    return Subject("subject 1", scan, phantom.mask, True, (5.0, 5.0, 3.0), truth=scan)


def corrupt(name: str, subject: Subject, severity: float, seed: int = 0) -> np.ndarray:
    return CORRUPTIONS[name](subject.scan, subject.mask, subject.spacing, severity, seed)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_corruption_grows_with_its_severity_and_is_the_same_each_time(subject, name) -> None:
    before = subject.scan.copy()
    far = []
    for severity in (0.0, 1 / 3, 2 / 3, 1.0):
        changed = corrupt(name, subject, severity)
        assert changed.shape == SHAPE
        assert changed.dtype == np.float32
        assert np.abs(changed).max() <= 1
        assert np.array_equal(changed, corrupt(name, subject, severity))
        far.append(np.abs(changed - subject.scan)[subject.mask].mean())
    assert far[0] == 0
    assert far[1] > 1e-3
    assert all(b > a for a, b in pairwise(far))
    assert np.array_equal(subject.scan, before)


@pytest.mark.parametrize("severity", [-0.1, 1.1])
def test_severities_are_shares(subject, severity) -> None:
    with pytest.raises(ValueError, match="severity"):
        corrupt("noise", subject, severity)


def test_noise_has_its_deviation_and_its_seed(subject) -> None:
    grey = replace(subject, scan=np.zeros(SHAPE, np.float32))
    noisy = corrupt("noise", grey, 1.0)
    assert noisy.std() == pytest.approx(2 * 0.15, rel=0.03)
    assert not np.array_equal(noisy, corrupt("noise", grey, 1.0, seed=1))


def test_blur_is_scipys(subject) -> None:
    inside = np.zeros(SHAPE, np.float32)
    inside[20, 20, 6] = 1
    impulse = replace(subject, scan=2 * inside - 1, spacing=(1.0, 1.5, 2.0))
    expected = 2 * gaussian_filter(inside, (2.0, 2 / 1.5, 1.0)) - 1
    np.testing.assert_allclose(corrupt("blur", impulse, 2 / 3), expected, atol=5e-3)


def test_a_spike_is_a_wave_of_its_amplitude(subject) -> None:
    grey = replace(subject, scan=np.zeros(SHAPE, np.float32))
    wave = corrupt("spike", grey, 1.0) / 2
    spectrum = np.abs(np.fft.fftn(wave - wave.mean()))
    assert wave.max() == pytest.approx(0.2, rel=0.1)
    assert (spectrum > 0.2 * spectrum.max()).sum() <= 2


def test_rotation_moves_the_scan_as_it_moves_the_truth(subject) -> None:
    turned = CORRUPTIONS["rotation"].moved(subject.scan, 1.0, -1.0)
    np.testing.assert_allclose(turned, corrupt("rotation", subject, 1.0), atol=1e-5)


def test_missing_slices_are_air_and_not_judged(subject) -> None:
    missing = CORRUPTIONS["missing_slices"]
    changed = corrupt("missing_slices", subject, 1.0)
    kept = missing.spared(SHAPE[2], missing.strongest)
    assert (~kept).sum() == int(SHAPE[2] * missing.strongest)
    assert (changed[..., ~kept] == -1).all()
    np.testing.assert_allclose(changed[..., kept], subject.scan[..., kept], atol=1e-6)


def test_another_contrast_ends_at_the_negative(subject) -> None:
    changed = corrupt("other_contrast", subject, 1.0)[subject.mask]
    middle = (subject.scan[subject.mask] > -0.9) & (subject.scan[subject.mask] < 0.9)
    assert np.corrcoef(changed[middle], subject.scan[subject.mask][middle])[0, 1] < -0.99


def test_doing_nothing_scores_the_corrupted_scan_itself(subject) -> None:
    wanted = {name: CORRUPTIONS[name] for name in ("noise", "rotation", "missing_slices")}
    found = curves(subject, {"doing_nothing": lambda s, m: s}, wanted, (1.0,), slices=None)
    noisy = corrupt("noise", subject, 1.0)
    expected = ssim_map(noisy, subject.truth, 2.0)[subject.mask].mean()
    assert found["noise", "doing_nothing"].scores == pytest.approx((1.0, expected), abs=1e-5)
    # Moved along, and not judged where it is missing, nothing is lost.
    assert found["rotation", "doing_nothing"].scores[1] == pytest.approx(1, abs=1e-4)


def test_one_that_breaks_on_noise_falls_steeper_than_doing_nothing(subject) -> None:
    candidates = {
        "translation": lambda s, m: (s + 3 * (s - gaussian_filter(s, 1))).clip(-1, 1),
        "doing_nothing": lambda s, m: s,
        "ignores": lambda s, m: subject.truth[..., : s.shape[2]],
    }
    found = curves(subject, candidates, {"noise": CORRUPTIONS["noise"]}, slices=4)
    assert found["noise", "ignores"].slope == pytest.approx(0, abs=1e-6)
    clean, *_, worst = found["noise", "translation"].scores
    nothing = found["noise", "doing_nothing"].scores
    assert worst / clean < nothing[-1] / nothing[0]


def test_slope_is_least_squares() -> None:
    assert Curve((0.0, 0.5, 1.0), (0.9, 0.6, 0.3)).slope == pytest.approx(-0.6)


def test_gradients_correlate_whatever_the_contrast(subject) -> None:
    scan, mask = subject.scan, subject.mask
    assert gradient_correlation(scan, -0.3 * scan + 0.1, mask) == pytest.approx(1)
    assert gradient_correlation(np.zeros_like(scan), scan, mask) == 0
    assert gradient_correlation(np.roll(scan, 3, axis=0), scan, mask) < 0.5


def test_the_slab_is_in_the_middle_of_the_body() -> None:
    mask = np.zeros((4, 4, 20), bool)
    mask[..., 4:14] = True
    assert middle_slab(mask, 4) == slice(6, 10)
    assert middle_slab(mask, None) == slice(0, 20)
    assert middle_slab(mask, 40) == slice(0, 20)


def test_without_truth_edges_are_compared_with_the_clean_scan(subject) -> None:
    given = replace(subject, truth=None)
    wanted = {"noise": CORRUPTIONS["noise"]}
    found = curves(given, {"a": lambda s, m: -s}, wanted, (1.0,), slices=None)
    clean, noisy = found["noise", "a"].scores
    assert clean == pytest.approx(1)
    expected = gradient_correlation(corrupt("noise", subject, 1.0), subject.scan, subject.mask)
    assert noisy == pytest.approx(expected)


def test_the_chapter_has_curves_slopes_and_pictures(subject) -> None:
    context = EvaluationContext(load_config(), quick=True)
    candidates = {
        "translation": lambda s, m: gaussian_filter(s, 1),
        "doing_nothing": lambda s, m: s,
    }
    chapter = run([subject], candidates, context)
    keys = [(f.name, f.candidate, f.subject, *sorted(f.of.items())) for f in chapter.figures]
    assert len(set(keys)) == len(keys)
    assert {f.name for f in chapter.figures} == {
        *("ssim", "slope", "mean_slope", "worst_slope", "corrupted_ssim"),
    }
    values = {(f.name, f.candidate, f.of.get("corruption")): f.value for f in chapter.figures}
    assert values["ssim", "doing_nothing", "none"] == pytest.approx(1, abs=1e-5)
    slopes = [values["slope", "translation", name] for name in CORRUPTIONS]
    assert values["mean_slope", "translation", None] == pytest.approx(np.mean(slopes))
    assert values["worst_slope", "translation", None] == pytest.approx(min(slopes))
    last = [values["ssim", "translation", name] for name in CORRUPTIONS]
    assert values["corrupted_ssim", "translation", None] == pytest.approx(np.mean(last))
    assert {p.name for p in chapter.pictures} == {"curves", "corrupted_scans"}
    for picture in chapter.pictures:
        with Image.open(io.BytesIO(picture.png)) as image:
            assert image.format == "PNG"
    assert any("axial slices in the middle" in note for note in chapter.notes)
