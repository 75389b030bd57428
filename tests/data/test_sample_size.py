from __future__ import annotations

import pytest

from medstyle_gan.data.sample_size import sample_size_fault


@pytest.mark.parametrize(
    ("sizes", "sample_size", "fits"),
    [
        ([(40, 44)], (64, 64), "[40,40]"),
        ([(40, 44), (30, 90)], (128, 128), "[40,88]"),
        ([(60, 60, 20)], (96, 96, 16), "[56,56,16]"),
        ([(60, 60, 20), (40, 70, 20)], (64, 96, 96), "[56,64,16]"),
        ([(5, 5, 5)], (64, 64, 64), "[8,8,8]"),
    ],
)
def test_samples_padded_along_more_than_one_axis_are_refused(
    sizes: list[tuple[int, ...]], sample_size: tuple[int, ...], fits: str
) -> None:
    fault = sample_size_fault(sizes, sample_size, "style")
    assert fault is not None
    assert f"data.sample_size {'x'.join(map(str, sample_size))} is larger" in fault
    assert "style collection" in fault
    assert f"set data.sample_size={fits}" in fault


@pytest.mark.parametrize(
    ("sizes", "sample_size"),
    [
        ([(40, 44)], (50, 64)),
        ([(10, 10), (60, 60)], (64, 64)),
        ([(60, 60, 20)], (64, 64, 64)),
        ([(10, 10, 10), (52, 52, 3)], (64, 64, 64)),
        ([], (64, 64, 64)),
    ],
)
def test_one_volume_that_is_mostly_image_is_enough(
    sizes: list[tuple[int, ...]], sample_size: tuple[int, ...]
) -> None:
    assert sample_size_fault(sizes, sample_size, "scan") is None
