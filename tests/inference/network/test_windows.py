from __future__ import annotations

from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data.utils import compute_importance_map
from scipy.ndimage import binary_dilation, binary_erosion
from skimage.registration import phase_cross_correlation
from torch import Tensor, nn

from medstyle_gan.config import Config
from medstyle_gan.data.preprocessing import prepare_volume
from medstyle_gan.errors import UserError
from medstyle_gan.inference import Translator
from medstyle_gan.inference.network.body import translate_body
from medstyle_gan.inference.network.network import Network
from medstyle_gan.inference.network.windows import translate_windows
from medstyle_gan.networks import build_generator
from medstyle_gan.volumes import Geometry, Volume, write_volume

from ..conftest import (
    Identity,
    ellipsoid,
    identity_translator,
    make_bundle,
    make_config,
    rotated,
    textured_body,
)


def config_3d(window: tuple[int, int, int] = (8, 8, 8), **data: Any) -> Config:
    native = make_config().data.model_dump()
    return make_config(data={**native, "dims": 3, "sample_size": window, **data})


def network_of(generator: nn.Module, window: tuple[int, int, int] = (8, 8, 8)) -> Network:
    config = config_3d(window)
    return Network(generator, 1, 1, config.data, config.inference, torch.device("cpu"), "fp32")


def volume_of(array: np.ndarray, affine: np.ndarray) -> Volume:
    return Volume(
        array=array,
        geometry=Geometry.from_affine(array.shape, affine),
        dtype=array.dtype,
        integer=array.dtype.kind in "iu",
        path=None,
    )


GRIDS = {
    "LPS": rotated((1, 1, 1), "LPS"),
    "ASL anisotropic": rotated((0.7, 1.3, 4.0), "ASL"),
    "oblique LIP": rotated((0.9, 2.1, 1.2), "LIP", -23),
}


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("dtype", [np.int16, np.float32])
@pytest.mark.parametrize(
    ("shape", "window"),
    [
        ((21, 18, 11), (8, 8, 8)),
        ((21, 18, 11), (12, 4, 8)),
        ((9, 7, 5), (16, 16, 16)),  # smaller than a window along every axis
        ((33, 17, 5), (8, 16, 12)),
        ((20, 18, 1), (8, 8, 8)),
    ],
)
def test_identity_gives_the_body_back_within_one_step(
    shape: tuple[int, int, int], window: tuple[int, int, int], dtype: type, grid: str
) -> None:
    array = textured_body(shape).astype(dtype)
    integer = {"style": np.issubdtype(dtype, np.integer)}
    translation = identity_translator(config_3d(window), integer=integer)(
        volume_of(array, GRIDS[grid])
    )
    assert translation.array.shape == shape
    assert translation.array.dtype == dtype
    np.testing.assert_array_equal(translation.geometry.affine, GRIDS[grid])
    step = 1 if integer["style"] else 1e-3
    kept = np.abs(translation.array.astype(float) - array) <= step
    # At the mask's edge a voxel is either the body's or the background's, never a mixture.
    assert np.all(kept | (translation.array == 0))
    assert kept[ellipsoid(shape)].mean() > 0.97
    outer = binary_dilation(ellipsoid(shape), iterations=3)
    assert not translation.array[~outer].any()


def test_a_file_keeps_its_geometry(tmp_path: Any) -> None:
    path, out = tmp_path / "scan.nii.gz", tmp_path / "out.nii.gz"
    image = nib.Nifti1Image(textured_body((20, 18, 9)).astype(np.int16), GRIDS["oblique LIP"])
    image.set_qform(image.affine, code=1)
    image.set_sform(image.affine, code=4)
    image.header.set_xyzt_units("mm", "sec")
    nib.save(image, path)
    translation = identity_translator(config_3d())(path)
    write_volume(out, translation.array, translation.geometry)
    before, after = nib.load(path), nib.load(out)
    np.testing.assert_array_equal(before.affine, after.affine)
    for field in ("dim", "pixdim", "xyzt_units", "sform_code", "qform_code"):
        np.testing.assert_array_equal(before.header[field], after.header[field], err_msg=field)


@pytest.mark.parametrize("grid", ["LPS", "oblique LIP"])
def test_translation_at_another_spacing_keeps_grid_and_place(grid: str) -> None:
    config = config_3d((16, 16, 16), spacing=(1.7, 1.6, 1.5))
    array = textured_body((48, 44, 30), sigma=3.0).astype(np.float32)
    volume = volume_of(array, GRIDS[grid])
    translation = identity_translator(config, integer={"style": False})(volume)
    assert translation.geometry is volume.geometry
    shift, *_ = phase_cross_correlation(
        array, translation.array, upsample_factor=50, normalization=None
    )
    assert np.abs(shift).max() < 0.05
    inner = binary_erosion(ellipsoid(array.shape), iterations=5)
    assert np.corrcoef(array[inner], translation.array[inner])[0, 1] > 0.97


def test_a_volume_as_large_as_a_window_goes_through_the_generator_as_if_by_hand() -> None:
    bundle = make_bundle(config_3d((16, 12, 8)))
    volume = np.random.default_rng(0).uniform(-1, 1, (1, 16, 12, 8)).astype(np.float32)
    generator = build_generator(bundle.config.generator, 1, 1, 3).eval()
    generator.load_state_dict(bundle.generator_state("scan_to_style"))
    with torch.no_grad():
        by_hand = generator(torch.from_numpy(volume)[None])[0].numpy()
    translator = Translator.load(bundle, device="cpu", precision="fp32")
    translated = translate_windows(translator.network("scan_to_style"), volume)
    assert by_hand.std() > 0.01
    np.testing.assert_allclose(translated, by_hand, atol=1e-5)


class Position(nn.Module):
    """Gives where a voxel lies in its window, whatever there is."""

    divisor = 4

    def forward(self, x: Tensor) -> Tensor:
        grids = torch.meshgrid(*[torch.arange(n) / n for n in x.shape[2:]], indexing="ij")
        return sum(grids[1:], grids[0]).expand_as(x)


@pytest.mark.parametrize("sides", [(8, 8, 8), (12, 8, 16), (19, 9, 11)])
def test_windows_overlap_by_half_and_blend_by_gaussian_weights(sides: tuple[int, ...]) -> None:
    window = (8, 8, 8)
    volume = np.zeros((1, *sides), np.float32)
    blended = translate_windows(network_of(Position(), window), volume)
    weights = compute_importance_map(window, mode="gaussian", sigma_scale=0.125).numpy()
    single = Position()(torch.zeros(1, 1, *window))[0, 0].numpy()
    total, weight = np.zeros(sides), np.zeros(sides)
    starts = [[*range(0, side - 8, 4), side - 8] for side in sides]
    for start in np.stack(np.meshgrid(*starts, indexing="ij"), -1).reshape(-1, 3):
        at = tuple(slice(s, s + 8) for s in start)
        total[at] += weights * single
        weight[at] += weights
    np.testing.assert_allclose(blended[0], total / weight, rtol=1e-4, atol=1e-5)


def test_only_the_body_is_gone_over_and_progress_ends_at_one() -> None:
    array = np.zeros((60, 50, 40), np.float32)
    array[30:46, 20:36, 10:22] = textured_body((16, 16, 12))
    translator = identity_translator(config_3d())
    shares: list[float] = []
    volume = volume_of(array, np.eye(4))
    translation = translator.translate(volume, on_progress=shares.append)
    assert shares == sorted(set(shares))
    assert shares[-1] == 1.0
    assert len(shares) == translator.generators["scan_to_style"].calls <= 5 * 5 * 4
    whole = [len(range(0, n - 8, 4)) + 1 for n in array.shape]
    assert len(shares) < np.prod(whole) / 4
    assert translation.image.array[38, 28, 16] == pytest.approx(array[38, 28, 16], abs=1)


def test_a_small_body_is_seen_with_what_is_around_it_and_background_beyond() -> None:
    generator = Identity()
    volume = np.full((1, 12, 6, 30), -0.5, np.float32)
    foreground = np.zeros((12, 6, 30), bool)
    foreground[1:5, 1:5, 12:17] = True
    volume[0, foreground] = 0.7
    translated, place = translate_body(network_of(generator), volume, foreground, fill=-0.9)
    assert place == (slice(0, 7), slice(0, 6), slice(10, 18))
    np.testing.assert_allclose(translated, volume[(slice(None), *place)], atol=1e-6)
    seen = generator.seen[0, 0].numpy()
    assert seen.shape == (8, 8, 8)
    np.testing.assert_array_equal(seen[0], np.float32(-0.9))
    np.testing.assert_array_equal(seen[:, [0, -1]], np.float32(-0.9))
    np.testing.assert_allclose(seen[1:, 1:-1], volume[0, :7, :, 10:18])


def test_background_takes_the_collections_value() -> None:
    translator = identity_translator(config_3d(), background={"style": -1024.0})
    array = textured_body((20, 18, 9)).astype(np.int16)
    translation = translator(volume_of(array, np.eye(4)))
    outer = binary_dilation(ellipsoid(array.shape), iterations=3)
    assert np.all(translation.array[~outer] == -1024)


@pytest.mark.parametrize("dims", [2, 3])
def test_the_networks_own_output_has_background_outside_the_body(dims: int) -> None:
    config = config_3d() if dims == 3 else make_config()
    translator = identity_translator(config, background={"style": 100.0})
    prepared = prepare_volume(
        volume_of(textured_body((20, 18, 9)), rotated((1, 1, 1), "LPS")), config.data, "scan"
    )
    unit = translator.translate_unit(prepared, "scan_to_style")
    assert unit.dtype == np.float32
    inside = prepared.foreground
    np.testing.assert_allclose(unit[0][inside], prepared.array[0][inside], atol=1e-6)
    np.testing.assert_allclose(unit[0][~inside], (100 - 500) / 500)


def test_the_input_is_not_changed() -> None:
    volume = np.random.default_rng(0).uniform(-1, 1, (1, 12, 12, 12)).astype(np.float32)
    before = volume.copy()
    translate_windows(network_of(Identity()), volume)
    np.testing.assert_array_equal(volume, before)


def test_translation_is_deterministic_and_bf16_stays_near() -> None:
    volume = volume_of(textured_body((20, 18, 12)), np.eye(4))
    bundle = make_bundle(config_3d(), integer={"style": False})
    exact, again, fast = (
        Translator.load(bundle, device="cpu", precision=p)(volume).array
        for p in ("fp32", "fp32", "bf16")
    )
    np.testing.assert_array_equal(exact, again)
    assert 0 < np.abs(exact - fast).mean() < 0.05 * np.ptp(exact)


def test_diverged_generator_is_reported() -> None:
    bundle = make_bundle(config_3d())
    for tensor in bundle.state.values():
        tensor.fill_(torch.nan)
    with pytest.raises(UserError, match="diverged"):
        Translator.load(bundle)(volume_of(textured_body((12, 12, 9)), np.eye(4)))
