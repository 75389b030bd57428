from __future__ import annotations

import numpy as np
import pytest

from medstyle_gan.data.order_statistics import percentiles

WANTED = [0.0, 0.5, 12.3, 50.0, 97.0, 99.5, 100.0]
RNG = np.random.default_rng(0)
ARRAYS = {
    "normal": RNG.normal(size=10_001).astype(np.float32),
    "integers": RNG.integers(-1024, 3000, 5_000).astype(np.float32),
    "mostly one value": np.where(RNG.random(4_000) < 0.9, 0, RNG.normal(size=4_000)).astype("f4"),
    "huge and tiny": (RNG.normal(size=999) * 10.0 ** RNG.integers(-38, 38, 999)).astype("f4"),
    "one": np.array([3.25], np.float32),
    "two": np.array([-1.0, 2.0], np.float32),
    "both zeros": np.array([0.0, -0.0, 1.0, -1.0], np.float32),
}


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize("size", [200, 100_000])
def test_percentiles_are_numpys_of_the_same_values_in_float64(name: str, size: int) -> None:
    array = ARRAYS[name]
    parts = np.array_split(array, max(1, len(array) // size))
    expected = np.percentile(array.astype(np.float64), WANTED)
    np.testing.assert_allclose(percentiles(lambda: parts, WANTED), expected, rtol=1e-13)


def test_no_values_have_no_percentiles() -> None:
    with pytest.raises(ValueError, match="no values"):
        percentiles(lambda: [np.empty(0, np.float32)], [50])
