from __future__ import annotations

import numpy as np
import pytest

from medstyle_gan.errors import UserError
from medstyle_gan.inference.quantization import output_dtype, quantize


@pytest.mark.parametrize(
    ("low", "high", "integer", "expected"),
    [
        (-1024, 3071, True, np.int16),
        (-32768, 32767, True, np.int16),
        (-32768.4, 32767.4, True, np.int16),
        (0, 40000, True, np.uint16),
        (-5, 40000, True, np.int32),
        (0, 1e6, True, np.int32),
        (0, 1e12, True, np.float32),
        (0, 1, False, np.float32),
    ],
)
def test_auto_takes_the_first_type_that_holds_the_range(
    low: float, high: float, integer: bool, expected: type
) -> None:
    array = np.array([low, high], np.float32)
    assert output_dtype(array, "auto", integer, colour=False) == expected


@pytest.mark.parametrize("setting", ["float32", "int16", "uint8"])
def test_a_type_that_is_asked_for_is_taken(setting: str) -> None:
    array = np.array([0, 1e6], np.float32)
    assert output_dtype(array, setting, True, colour=False) == np.dtype(setting)  # type: ignore[arg-type]


def test_colour_is_uint8_only() -> None:
    array = np.zeros(2, np.float32)
    assert output_dtype(array, "auto", False, colour=True) == np.uint8
    with pytest.raises(UserError, match="written as uint8 RGB"):
        output_dtype(array, "int16", False, colour=True)


def test_values_are_rounded_and_those_beyond_the_type_counted() -> None:
    array = np.array([-3.0, -0.4, 0.6, 254.6, 255.4, 256.0, 1e9], np.float32)
    quantized, beyond = quantize(array, np.dtype(np.uint8))
    np.testing.assert_array_equal(quantized, [0, 0, 1, 255, 255, 255, 255])
    assert quantized.dtype == np.uint8
    assert beyond == 3


def test_float_values_are_taken_as_they_are() -> None:
    array = np.array([-3.25, 1e9], np.float32)
    quantized, beyond = quantize(array, np.dtype(np.float32))
    np.testing.assert_array_equal(quantized, array)
    assert beyond == 0
