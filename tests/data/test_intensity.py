from __future__ import annotations

import numpy as np
import pytest

from medstyle_gan.config.data_section import FixedScale, PercentileScale, WindowScale, ZScoreScale
from medstyle_gan.data.intensity import (
    INTENSITY_SCALES,
    FittedScale,
    fit_scale,
    typical_scale,
)
from medstyle_gan.errors import UserError


@pytest.fixture
def volume() -> np.ndarray:
    return np.random.default_rng(0).gamma(2.0, 150.0, size=(1, 9, 8, 7)).astype(np.float32)


@pytest.fixture
def foreground(volume: np.ndarray) -> np.ndarray:
    return volume[0] > 200


@pytest.mark.parametrize("region", ["volume", "foreground"])
def test_percentile_maps_numpys_percentiles_of_its_region_to_the_ends(
    volume: np.ndarray, foreground: np.ndarray, region: str
) -> None:
    scale = fit_scale(PercentileScale(lower=3, upper=96, region=region), volume, foreground)
    values = volume if region == "volume" else volume[0][foreground]
    ends = np.percentile(values.astype(np.float64), (3, 96))
    np.testing.assert_allclose(scale.to_unit(ends), [-1, 1], atol=1e-6)


@pytest.mark.parametrize("region", ["volume", "foreground"])
def test_zscore_divides_the_standard_score_by_the_deviations(
    volume: np.ndarray, foreground: np.ndarray, region: str
) -> None:
    scale = fit_scale(ZScoreScale(deviations=2.5, region=region, clip=False), volume, foreground)
    values = (volume if region == "volume" else volume[0][foreground]).astype(np.float64)
    expected = (volume - values.mean()) / values.std() / 2.5
    np.testing.assert_allclose(scale.to_unit(volume), expected, atol=1e-5)


def test_window_and_fixed_do_not_look_at_the_volume(
    volume: np.ndarray, foreground: np.ndarray
) -> None:
    window = fit_scale(WindowScale(level=40, width=400), volume, foreground)
    fixed = fit_scale(FixedScale(lower=-160, upper=240), volume, foreground)
    assert window == fixed == FittedScale(center=40, half_range=200, clip=True)


@pytest.mark.parametrize("seed", range(20))
def test_unclipped_scales_come_back_and_clipped_ones_come_back_inside(seed: int) -> None:
    rng = np.random.default_rng(seed)
    center, half = rng.uniform(-2000, 2000), 10 ** rng.uniform(-2, 4)
    native = rng.uniform(center - 3 * half, center + 3 * half, size=(2, 5, 4))
    back = FittedScale(center, half, clip=False)
    tolerance = 4e-7 * (abs(center) + 3 * half)
    np.testing.assert_allclose(back.from_unit(back.to_unit(native)), native, atol=tolerance)
    clipped = FittedScale(center, half, clip=True)
    unit = clipped.to_unit(native)
    assert unit.min() >= -1
    assert unit.max() <= 1
    expected = np.clip(native, center - half, center + half)
    np.testing.assert_allclose(clipped.from_unit(unit), expected, atol=tolerance)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float64", ">i2"])
def test_any_type_gives_the_same_float32_and_stays_untouched(dtype: str) -> None:
    native = np.array([0, 3, 100, 127], dtype=dtype)
    before = native.copy()
    unit = FittedScale(center=50, half_range=50, clip=False).to_unit(native)
    assert unit.dtype == np.float32
    np.testing.assert_allclose(unit, [-1, -0.94, 1, 1.54], atol=1e-6)
    np.testing.assert_array_equal(native, before)


def test_a_small_range_far_from_zero_keeps_its_steps() -> None:
    native = 1e9 + np.arange(5, dtype=np.float64)
    unit = FittedScale(center=1e9 + 2, half_range=2, clip=True).to_unit(native)
    np.testing.assert_allclose(unit, [-1, -0.5, 0, 0.5, 1])


def test_a_scale_survives_its_dict() -> None:
    scale = FittedScale(center=1.5, half_range=0.25, clip=False)
    assert FittedScale.from_dict(scale.as_dict()) == scale


def test_typical_scale_is_not_moved_by_one_odd_volume() -> None:
    usual = [FittedScale(100 + i, 50 + i, True) for i in range(5)]
    odd = FittedScale(1e6, 1e6, True)
    assert typical_scale([*usual, odd]).center == pytest.approx(102.5)
    assert typical_scale(usual) == FittedScale(102, 52, True)


@pytest.mark.parametrize("config", [PercentileScale(), ZScoreScale(region="volume")])
def test_a_volume_without_a_range_is_refused_with_the_way_out(config: PercentileScale) -> None:
    flat = np.zeros((1, 4, 4, 4), dtype=np.float32)
    with pytest.raises(UserError, match="region"):
        fit_scale(config, flat, np.zeros((4, 4, 4), dtype=bool))


def test_every_configurable_scale_is_registered() -> None:
    names = {c().name for c in (PercentileScale, WindowScale, ZScoreScale, FixedScale)}
    assert set(INTENSITY_SCALES) == names
