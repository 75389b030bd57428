from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from medstyle_gan.data.preprocessing import Prepared
from medstyle_gan.errors import UserError
from medstyle_gan.inference import Translator
from medstyle_gan.inference.network.network import Network
from medstyle_gan.inference.network.paths import translate_all_ways, ways_of

from ..conftest import FIXED, Identity, ellipsoid, make_bundle, make_config


class Ramp(nn.Module):
    """Adds to each voxel where it lies along an axis of the images, in [0, 1]."""

    divisor = 1

    def __init__(self, axis: int) -> None:
        super().__init__()
        self.axis = axis

    def forward(self, x: Tensor) -> Tensor:
        ramp = torch.linspace(0, 1, x.shape[self.axis])
        return x + ramp.reshape([-1 if a == self.axis else 1 for a in range(x.ndim)])


def network_of(generator: nn.Module, data: dict[str, Any], **inference: Any) -> Network:
    native = make_config().data.model_dump()
    config = make_config(data={**native, **data}, inference=inference)
    return Network(generator, 1, 1, config.data, config.inference, torch.device("cpu"), "fp32")


def prepared_of(
    array: np.ndarray, foreground: np.ndarray, spacing: tuple[float, ...] = (1.0, 1.0, 1.0)
) -> Prepared:
    return Prepared(
        array=array,
        affine=np.diag([*spacing, 1.0]),
        foreground=foreground,
        scale=FIXED,
        integer=False,
        background=0.0,
    )


PLANES = {"axial": ("left_right", "anterior_posterior"), "sagittal": ("superior_inferior",)}


@pytest.mark.parametrize("plane", PLANES)
def test_flips_take_the_mean_over_all_mirrored_translations(plane: str) -> None:
    rng = np.random.default_rng(0)
    array = rng.uniform(-1, 1, (1, 16, 12, 8)).astype(np.float32)
    foreground = ellipsoid((16, 12, 8))
    generator = Ramp(2 if plane == "axial" else 3)  # along X of axial, Z of sagittal slices
    plain = network_of(generator, {"plane": plane})
    mirrored = network_of(generator, {"plane": plane}, flips=PLANES[plane])
    once = translate_all_ways(plain, prepared_of(array, foreground))
    mean = translate_all_ways(mirrored, prepared_of(array, foreground))
    assert np.ptp((once - array)[0][foreground]) > 0.5
    # A ramp and its mirror image make 1/2 everywhere.
    np.testing.assert_allclose((mean - array)[0][foreground], 0.5, atol=1e-6)


def test_a_flip_that_slices_cannot_notice_costs_nothing() -> None:
    calls = 0

    class Counted(Ramp):
        def forward(self, x: Tensor) -> Tensor:
            nonlocal calls
            calls += 1
            return super().forward(x)

    array = np.zeros((1, 12, 12, 6), np.float32)
    network = network_of(Counted(2), {}, flips=("superior_inferior",), batch_size=6)
    translate_all_ways(network, prepared_of(array, np.ones((12, 12, 6), bool)))
    assert calls == 1


@pytest.mark.parametrize("dims", [2, 3])
def test_progress_of_all_flips_rises_to_one(dims: int) -> None:
    data = {} if dims == 2 else {"dims": 3, "sample_size": (8, 8, 8)}
    network = network_of(Ramp(2), data, flips=("left_right", "anterior_posterior"))
    shares: list[float] = []
    array = np.zeros((1, 12, 12, 8), np.float32)
    translate_all_ways(network, prepared_of(array, ellipsoid((12, 12, 8))), shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1.0)
    assert len(shares) >= 4


class Combs(nn.Module):
    """Adds a pattern of period 2 along every axis, as upsampling leaves it."""

    divisor = 4

    def forward(self, x: Tensor) -> Tensor:
        for axis in range(2, x.ndim):
            signs = torch.tensor([0.5, -0.5]).repeat(x.shape[axis] // 2)
            x = x + signs.reshape([-1 if a == axis else 1 for a in range(x.ndim)])
        return x


@pytest.mark.parametrize("flips", [(), ("left_right",), ("left_right", "anterior_posterior")])
@pytest.mark.parametrize(
    ("data", "shape"),
    [
        *(({"dims": dims}, shape) for dims in (2, 2.5) for shape in [(16, 13, 9), (17, 14, 9)]),
        # Of an odd number of voxels more than a window's, windows have both phases.
        ({"dims": 3, "sample_size": (12, 12, 12)}, (16, 14, 12)),
        ({"dims": 3, "sample_size": (12, 12, 12)}, (24, 18, 14)),
    ],
)
def test_cycle_spinning_takes_away_patterns_of_the_grid(
    data: dict[str, Any], flips: tuple[str, ...], shape: tuple[int, int, int]
) -> None:
    rng = np.random.default_rng(0)
    array = rng.uniform(-1, 1, (1, *shape)).astype(np.float32)
    prepared = prepared_of(array, np.ones(shape, bool))
    once = translate_all_ways(network_of(Combs(), data, flips=flips), prepared)
    mean = translate_all_ways(network_of(Combs(), data, flips=flips, cycle_spinning=True), prepared)
    assert once.shape == mean.shape == array.shape
    np.testing.assert_allclose(mean, array, atol=1e-5)
    if not flips:
        assert np.abs(once - array).max() > 0.4


@pytest.mark.parametrize(
    ("flips", "expected"),
    [
        ((), [((), 0), ((), 1)]),
        (("left_right",), [((), 0), ((0,), 1)]),
        (("anterior_posterior", "left_right"), [((), 0), ((0,), 1), ((1,), 1), ((0, 1), 0)]),
    ],
)
def test_half_of_the_ways_are_moved(
    flips: tuple[str, ...], expected: list[tuple[tuple[int, ...], int]]
) -> None:
    ways = ways_of(network_of(Ramp(2), {}, flips=flips, cycle_spinning=True))
    assert [(way.mirrored, way.phase) for way in ways] == expected
    without = ways_of(network_of(Ramp(2), {}, flips=flips))
    assert {way.phase for way in without} == {None}


class Times(nn.Module):
    """Gives a constant that depends on the images' size alone."""

    divisor = 1

    def __init__(self, values: dict[tuple[int, int], float]) -> None:
        super().__init__()
        self.values = values

    def forward(self, x: Tensor) -> Tensor:
        return torch.full_like(x, self.values[x.shape[2], x.shape[3]])


@pytest.mark.parametrize(("fusion", "expected"), [("mean", 0.4), ("median", 0.3)])
def test_three_planes_are_fused_voxel_by_voxel(fusion: str, expected: float) -> None:
    # Sizes tell the planes apart: axial (X, Y), coronal (X, Z), sagittal (Y, Z).
    generator = Times({(16, 12): 0.1, (16, 8): 0.3, (12, 8): 0.8})
    network = network_of(generator, {}, planes=3, fusion=fusion)
    foreground = ellipsoid((16, 12, 8))
    shares: list[float] = []
    prepared = prepared_of(np.zeros((1, 16, 12, 8), np.float32), foreground)
    fused = translate_all_ways(network, prepared, shares.append)
    np.testing.assert_allclose(fused[0][foreground], expected, atol=1e-6)
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1.0)


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_other_planes_have_pixels_of_the_trainings_size(plane: str) -> None:
    seen: list[tuple[int, ...]] = []

    class Recorder(Identity):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(tuple(x.shape[2:]))
            return super().forward(x)

    across = {"axial": 2, "coronal": 1, "sagittal": 0}[plane]
    spacing, shape = [1.0, 1.0, 1.0], [25, 23, 21]
    spacing[across], shape[across] = 3.0, 9
    grids = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    smooth = (0.5 * np.sin(2 * sum(grids)))[None].astype(np.float32)
    foreground = np.zeros(shape, bool)
    foreground[2:-2, 2:-2, 2:-2] = True
    network = network_of(Recorder(divisor=1), {"plane": plane}, planes=3)
    fused = translate_all_ways(network, prepared_of(smooth, foreground, tuple(spacing)))
    cubes = [n if axis != across else 25 for axis, n in enumerate(shape)]
    for axis in range(3):
        assert tuple(n for a, n in enumerate(cubes) if a != axis) in seen
    np.testing.assert_allclose(fused[0][foreground], smooth[0][foreground], atol=0.05)


def test_a_25d_network_sees_each_slice_between_its_neighbours() -> None:
    seen: list[Tensor] = []

    class Middle(nn.Module):
        divisor = 1

        def forward(self, x: Tensor) -> Tensor:
            seen.append(x)
            return x + torch.tensor([10.0, 20, 30, 40, 50])[:, None, None]

    network = network_of(Middle(), {"dims": 2.5, "neighbours": 2})
    array = np.broadcast_to(np.arange(6, dtype=np.float32), (1, 8, 8, 6)).copy()
    foreground = np.zeros((8, 8, 6), bool)
    foreground[2:6, 2:6, 1:5] = True
    translated = translate_all_ways(network, prepared_of(array, foreground))
    stacks = torch.cat(seen)[:, :, 0, 0].tolist()
    # The volume's ends stand for what is beyond them; the slices beside the body are its own.
    assert stacks == [
        [0, 0, 0, 1, 2],
        [0, 0, 1, 2, 3],
        [0, 1, 2, 3, 4],
        [1, 2, 3, 4, 5],
        [2, 3, 4, 5, 5],
        [3, 4, 5, 5, 5],
    ]
    np.testing.assert_allclose(translated[0][foreground], array[0][foreground] + 30)


@pytest.mark.parametrize("data", [{}, {"dims": 2.5}])
def test_slices_with_shared_statistics_flicker_less(data: dict[str, Any]) -> None:
    native = make_config().data.model_dump()
    bundle = make_bundle(make_config(data={**native, **data}))
    rng = np.random.default_rng(0)
    # The same image in all slices but for a bright corner, whose size changes the statistics.
    array = np.repeat(rng.uniform(-0.5, 0.3, (1, 40, 16, 1)), 24, axis=3).astype(np.float32)
    for z, size in enumerate(rng.integers(1, 12, 24)):
        array[:, :size, :size, z] = 0.9
    prepared = prepared_of(array, np.ones((40, 16, 24), bool))

    def flicker(**inference: Any) -> float:
        config = bundle.config.inference.model_copy(update=inference)
        translator = Translator.load(bundle, "cpu", "fp32", config)
        unit = translator.translate_unit(prepared, "scan_to_style")[0]
        return float(np.abs(np.diff(unit[32:])).mean())  # far from the corner

    assert flicker() > 0.01
    assert flicker(batch_size=3) == pytest.approx(flicker(batch_size=24), rel=1e-3)
    assert flicker(slice_statistics=1) < flicker()
    assert flicker(slice_statistics=4) < 0.5 * flicker()


def test_a_network_of_unknown_layers_cannot_share_statistics() -> None:
    network = network_of(Ramp(2), {}, slice_statistics=2)
    prepared = prepared_of(np.zeros((1, 12, 12, 6), np.float32), np.ones((12, 12, 6), bool))
    with pytest.raises(UserError, match=r"set inference\.slice_statistics=0"):
        translate_all_ways(network, prepared)


@pytest.mark.parametrize("setting", [{"planes": 3}, {"slice_statistics": 2}])
def test_settings_of_slices_are_refused_for_patches(setting: dict[str, int]) -> None:
    native = make_config().data.model_dump()
    bundle = make_bundle(make_config(data={**native, "dims": 3, "sample_size": (8, 8, 8)}))
    inference = bundle.config.inference.model_copy(update=setting)
    with pytest.raises(UserError, match=f"inference.{next(iter(setting))} is for networks of sl"):
        Translator.load(bundle, inference=inference)


@pytest.mark.parametrize(("sample", "seen"), [((8, 8), (42, 40)), ((64, 64), (64, 40))])
def test_large_slices_are_cut_to_the_body_but_not_below_a_sample(
    sample: tuple[int, int], seen: tuple[int, int]
) -> None:
    generator = Identity(divisor=1)
    network = network_of(generator, {"sample_size": sample})
    array = np.random.default_rng(0).uniform(-1, 1, (1, 100, 40, 6)).astype(np.float32)
    foreground = np.zeros(array.shape[1:], bool)
    foreground[70:80, 15:25, 1:5] = True
    translated = translate_all_ways(network, prepared_of(array, foreground))
    assert generator.seen.shape[2] == seen[0]  # 10 voxels of body, 16 on each side
    np.testing.assert_array_equal(translated[0][foreground], array[0][foreground])
    assert not translated[0, :20].any()
