from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from scipy.ndimage import binary_dilation, binary_erosion, gaussian_filter
from skimage.registration import phase_cross_correlation

from medstyle_gan.data.intensity import FittedScale
from medstyle_gan.data.words import Direction
from medstyle_gan.errors import UserError
from medstyle_gan.inference import TranslateStyled, Translator, plan_translation
from medstyle_gan.inference.network.streaming import can_stream
from medstyle_gan.networks import ResNetGenerator, build_generator
from medstyle_gan.networks.winograd import WinogradConv
from medstyle_gan.volumes import Geometry, Picture, Volume, read_volume, write_volume

from .conftest import (
    Identity,
    ellipsoid,
    facts,
    identity_translator,
    make_bundle,
    make_config,
    rotated,
    textured_body,
)


def volume_of(array: np.ndarray, affine: np.ndarray) -> Volume:
    return Volume(
        array=array,
        geometry=Geometry.from_affine(array.shape, affine),
        dtype=array.dtype,
        integer=array.dtype.kind in "iu",
        path=None,
    )


def _native() -> dict[str, Any]:
    """The `data` section of `make_config`, to be changed in part."""
    return make_config().data.model_dump()


GRIDS = {
    "RAS": rotated((1, 1, 1)),
    "LPS": rotated((1, 1, 1), "LPS"),
    "PIR": rotated((1, 1, 1), "PIR"),
    "ASL anisotropic": rotated((0.7, 1.3, 4.0), "ASL"),
    "oblique": rotated((1, 1, 3), "RAS", 17),
    "oblique LIP": rotated((0.9, 2.1, 1.2), "LIP", -23),
}


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float32])
def test_identity_gives_the_body_back_within_one_step(grid: str, dtype: type) -> None:
    shape = (21, 18, 11)
    array = textured_body(shape)
    array = (array / 4 if dtype is np.uint8 else array).astype(dtype)
    integer = {"style": np.issubdtype(dtype, np.integer)}
    translation = identity_translator(integer=integer)(volume_of(array, GRIDS[grid]))
    assert translation.integer == integer["style"]
    assert translation.array.dtype == (np.int16 if integer["style"] else np.float32)
    inner = binary_erosion(ellipsoid(shape), iterations=3)
    outer = binary_dilation(ellipsoid(shape), iterations=3)
    step = 1 if integer["style"] else 1e-3
    assert np.abs(translation.array[inner].astype(float) - array[inner]).max() <= step
    assert not translation.array[~outer].any()
    # At the mask's edge a voxel is either the body's or the background's, never a mixture.
    kept = np.abs(translation.array.astype(float) - array) <= step
    assert np.all(kept | (translation.array == 0))
    assert kept.mean() > 0.97


GEOMETRY_FIELDS = (
    *("dim", "pixdim", "xyzt_units", "toffset", "sform_code", "qform_code"),
    *(f"srow_{axis}" for axis in "xyz"),
    *(f"qoffset_{axis}" for axis in "xyz"),
    *(f"quatern_{axis}" for axis in "bcd"),
)
HEADERS = [
    ("nii.gz", np.int16, (20, 18, 6), None),
    ("nii", np.float64, (20, 18, 6), None),
    ("nii.gz", np.int16, (20, 18, 6, 1), None),
    ("nii.gz", np.uint8, (20, 18, 6), (0.5, 10.0)),
    ("nii.gz", np.int16, (20, 18, 1), None),
]


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(("suffix", "dtype", "shape", "scaling"), HEADERS)
def test_header_geometry_is_exactly_the_inputs(
    tmp_path: Path,
    version: int,
    suffix: str,
    dtype: type,
    shape: tuple[int, ...],
    scaling: tuple[float, float] | None,
) -> None:
    kind = nib.Nifti1Image if version == 1 else nib.Nifti2Image
    array = (textured_body(shape[:3]) / 4).astype(dtype).reshape(shape)
    image = kind(array, rotated((0.8, 1.1, 2.5), "LAS", 12))
    # sform and qform that disagree, a frame time, and codes of their own.
    image.set_qform(rotated((0.8, 1.1, 2.5), "LAS", 11), code=1)
    image.set_sform(image.affine, code=4)
    image.header.set_xyzt_units("mm", "sec")
    image.header["pixdim"][4] = 2.5
    image.header["toffset"] = 0.75
    if scaling:
        image.header.set_slope_inter(*scaling)
    nib.save(image, tmp_path / f"scan.{suffix}")
    translation = identity_translator()(tmp_path / f"scan.{suffix}")
    write_volume(tmp_path / f"out.{suffix}", translation.array, translation.geometry)

    before, after = (nib.load(tmp_path / f"{name}.{suffix}") for name in ("scan", "out"))
    assert type(before) is type(after)
    np.testing.assert_array_equal(before.affine, after.affine)
    for field in GEOMETRY_FIELDS:
        np.testing.assert_array_equal(before.header[field], after.header[field], err_msg=field)


@pytest.mark.parametrize("grid", ["RAS", "PIR", "oblique LIP"])
@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_translation_at_another_spacing_keeps_grid_and_place(grid: str, plane: str) -> None:
    config = make_config(
        data={**_native(), "spacing": (1.7, 1.6, None), "plane": plane},
    )
    array = textured_body((48, 44, 30), sigma=3.0).astype(np.float32)
    volume = volume_of(array, GRIDS[grid])
    translation = identity_translator(config, integer={"style": False})(volume)
    assert translation.geometry is volume.geometry
    assert translation.array.shape == array.shape
    assert translation.array.dtype == np.float32
    # Not whitened: the frequencies that the coarser grid lost would be noise of equal weight.
    shift, *_ = phase_cross_correlation(
        array, translation.array, upsample_factor=50, normalization=None
    )
    assert np.abs(shift).max() < 0.05
    inner = binary_erosion(ellipsoid(array.shape), iterations=5)
    # Only what the coarser grid cannot hold is lost.
    assert np.corrcoef(array[inner], translation.array[inner])[0, 1] > 0.97
    assert np.abs(translation.array[inner] - array[inner]).mean() < 20


def test_a_padded_generator_moves_nothing() -> None:
    array = textured_body((37, 29, 7), sigma=2.0).astype(np.float32)
    config = make_config(data={**_native(), "sample_size": (50, 31)})
    translation = identity_translator(config, integer={"style": False})(volume_of(array, np.eye(4)))
    shift, *_ = phase_cross_correlation(array, translation.array, upsample_factor=20)
    assert not shift.any()


def test_whole_slices_go_through_the_generator_as_if_by_hand() -> None:
    bundle = make_bundle()
    array = textured_body((24, 20, 9)).astype(np.float32)
    translator = Translator.load(bundle, device="cpu", precision="fp32")
    translation = translator.translate(volume_of(array, np.eye(4))).image.array

    generator = build_generator(bundle.config.generator, 1, 1).eval()
    generator.load_state_dict(bundle.generator_state("scan_to_style"))
    unit = torch.from_numpy((array - 500) / 500).permute(2, 0, 1)[:, None]
    with torch.no_grad():
        by_hand = generator(unit)[:, 0].permute(1, 2, 0).numpy() * 500 + 500
    inner = binary_erosion(ellipsoid(array.shape), iterations=2)
    assert inner.any()
    assert by_hand.std() > 5
    assert np.abs(translation[inner] - by_hand[inner]).max() <= 0.51  # rounded to int16


@pytest.mark.parametrize("batch_size", [1, 4, 64])
def test_batch_size_changes_nothing(batch_size: int) -> None:
    array = textured_body((18, 15, 7)).astype(np.int16)
    results = []
    for size in (2, batch_size):
        bundle = make_bundle(make_config(inference={"batch_size": size}), integer={"style": False})
        translator = Translator.load(bundle, device="cpu", precision="fp32")
        results.append(translator(volume_of(array, np.eye(4))).array)
    np.testing.assert_allclose(*results, atol=0.02)


def test_translation_is_deterministic() -> None:
    volume = volume_of(textured_body((18, 15, 5)), np.eye(4))
    translator = Translator.load(make_bundle(integer={"style": False}))
    np.testing.assert_array_equal(translator(volume).array, translator(volume).array)


def test_bf16_stays_near_fp32() -> None:
    volume = volume_of(textured_body((32, 32, 5)), np.eye(4))
    bundle = make_bundle(integer={"style": False})
    exact, fast = (
        Translator.load(bundle, device="cpu", precision=p)(volume).array for p in ("fp32", "bf16")
    )
    assert fast.dtype == np.float32
    assert 0 < np.abs(exact - fast).mean() < 0.05 * np.ptp(exact)


def test_background_takes_the_collections_value() -> None:
    # CT-like: the scan's background is 0, the style's is air.
    window = FittedScale(center=0.0, half_range=1000.0, clip=True)
    translator = identity_translator(background={"style": -1024.0}, scales={"style": window})
    array = textured_body((20, 18, 9)).astype(np.int16)
    translation = translator(volume_of(array, np.eye(4)))
    assert translation.dtype == np.int16
    assert np.all(
        translation.array[~binary_dilation(ellipsoid(array.shape), iterations=3)] == -1024
    )
    inner = binary_erosion(ellipsoid(array.shape), iterations=3)
    assert translation.array[inner].min() > -1000


def test_slices_without_body_are_not_translated() -> None:
    array = np.zeros((20, 20, 30))
    array[:, :, 10:15] = textured_body((20, 20, 5))
    translator = identity_translator(make_config(inference={"batch_size": 1}))
    translator(volume_of(array, np.eye(4)))
    assert 3 <= translator.generators["scan_to_style"].calls <= 9


@pytest.mark.parametrize(
    ("direction", "target"), [("scan_to_style", "style"), ("style_to_scan", "scan")]
)
def test_direction_decides_generator_and_native_units(direction: Direction, target: str) -> None:
    translator = identity_translator(scales={target: FittedScale(20.0, 100.0, False)})
    array = textured_body((20, 18, 9))
    translation = translator.translate(volume_of(array, np.eye(4)), direction)
    assert {d: bool(g.calls) for d, g in translator.generators.items()} == {
        d: d == direction for d in translator.generators
    }
    inner = binary_erosion(ellipsoid(array.shape), iterations=3)
    expected = (array[inner] - 500) / 500 * 100 + 20
    assert np.abs(translation.image.array[inner] - expected).max() <= 0.51
    assert translation.output_scale.half_range == 100.0


def test_generator_sees_the_border_that_training_gave() -> None:
    # A slice smaller than the sample is surrounded by its background, here 0 → -1.
    config = make_config(data={**_native(), "sample_size": (32, 24)})
    translator = identity_translator(config)
    translator(volume_of(textured_body((20, 18, 5)), np.eye(4)))
    seen = translator.generators["scan_to_style"].seen
    assert seen.shape[2:] == (32, 24)
    border = torch.ones(32, 24, dtype=torch.bool)
    border[6:26, 3:21] = False
    assert torch.all(seen[..., border] == -1)
    assert seen[..., ~border].max() > 0


def test_progress_ends_at_one() -> None:
    shares: list[float] = []
    volume = volume_of(textured_body((12, 12, 8)), np.eye(4))
    identity_translator().translate(volume, on_progress=shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_clipped_voxels_are_counted() -> None:
    fixed = {"name": "fixed", "lower": 0.0, "upper": 500.0, "clip": True}
    config = make_config(
        data={
            "spacing": (None, None, None),
            "sample_size": (8, 8),
            "intensity": {"scan": fixed, "style": fixed},
        },
        inference={"dtype": "uint8"},
    )
    array = textured_body((20, 18, 9)) - 10
    volume = volume_of(array, np.eye(4))
    clipped = identity_translator(config).translate(volume).clipped
    assert clipped.input_below == np.count_nonzero(array < 0)
    assert clipped.input_above == np.count_nonzero(array > 500)
    assert clipped.output > 0
    assert clipped.total == array.size


def test_colour_style_gives_uint8_rgb() -> None:
    translator = Translator.load(make_bundle(channels={"style": 3}, pictures={"style": True}))
    array = textured_body((20, 18, 5)).astype(np.int16)
    translation = translator(volume_of(array, rotated((1, 1, 2), "LPS")))
    assert translation.array.shape == (20, 18, 5, 3)
    assert translation.array.dtype == np.uint8
    outside = ~binary_dilation(ellipsoid(array.shape), iterations=3)
    assert not translation.array[outside].any()


@pytest.mark.parametrize("size", [(12, 20), (33, 17), (8, 8)])
def test_identity_gives_a_picture_back_in_its_size(size: tuple[int, int]) -> None:
    smooth = gaussian_filter(np.random.default_rng(0).normal(size=(*size, 3)), (4, 4, 0))
    smooth = (smooth - smooth.min()) / np.ptp(smooth) * 255
    picture = Picture(smooth.astype(np.uint8), 255.0, Path("p.png"))
    config = make_config(data={"sample_size": (max(size), max(size))})
    translator = identity_translator(
        config, channels={"scan": 3, "style": 3}, pictures={"style": True}
    )
    pixels = translator.translate_picture(picture).image
    assert pixels.shape == picture.array.shape
    assert pixels.dtype == np.uint8
    assert np.abs(pixels.astype(int) - picture.array).mean() < 4


def test_picture_of_the_samples_size_comes_back_exactly() -> None:
    array = np.random.default_rng(0).integers(0, 256, (16, 16, 1), dtype=np.uint8)
    config = make_config(data={"sample_size": (16, 16)})
    translator = identity_translator(config, pictures={"style": True})
    pixels = translator.translate_picture(Picture(array, 255.0, Path("p.png"))).image
    np.testing.assert_array_equal(pixels, array)


def test_wrong_kind_for_the_direction_is_explained() -> None:
    translator = identity_translator(pictures={"style": True})
    volume = volume_of(textured_body((12, 12, 5)), np.eye(4))
    with pytest.raises(UserError, match=r"takes pictures \(PNG, JPEG\)"):
        translator(volume, "style_to_scan")
    picture = Picture(np.zeros((8, 8, 1), np.uint8), 255.0, Path("p.png"))
    with pytest.raises(UserError, match="takes volumes"):
        translator.translate_picture(picture, "scan_to_style")


def test_path_volume_and_nibabel_image_give_the_same(tmp_path: Path) -> None:
    path = tmp_path / "scan.nii.gz"
    nib.save(nib.Nifti1Image(textured_body((14, 12, 5)).astype(np.int16), GRIDS["oblique"]), path)
    translator = Translator.load(make_bundle())
    first, *others = (translator(x) for x in (path, str(path), read_volume(path)))
    for result in others:
        np.testing.assert_array_equal(result.array, first.array)
        np.testing.assert_array_equal(result.geometry.affine, first.geometry.affine)
        assert result.geometry.sform_code == first.geometry.sform_code
    image = translator(nib.load(path))
    assert isinstance(image, nib.Nifti1Image)
    np.testing.assert_array_equal(np.asarray(image.dataobj), first.array)
    np.testing.assert_array_equal(image.affine, first.geometry.affine)
    assert image.get_sform(coded=True)[1] == first.geometry.sform_code


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.full((6, 6, 3), np.nan, np.float32), "NaN"),
        (np.ones((6, 6, 3), np.float32), "same value"),
        (np.zeros((6, 6, 3, 2), np.float32), "one frame"),
        (np.zeros((6, 6, 3), np.complex64), "one grey value"),
    ],
)
def test_unusable_nibabel_image_is_refused(array: np.ndarray, message: str) -> None:
    with pytest.raises(UserError, match=message):
        identity_translator()(nib.Nifti1Image(array, np.eye(4)))


def test_plain_array_is_refused() -> None:
    with pytest.raises(TypeError, match="no geometry"):
        identity_translator()(np.zeros((4, 4, 4)))  # type: ignore[arg-type]


def test_diverged_generator_is_reported() -> None:
    bundle = make_bundle()
    for tensor in bundle.state.values():
        tensor.fill_(torch.nan)
    with pytest.raises(UserError, match="diverged"):
        Translator.load(bundle)(volume_of(textured_body((12, 12, 5)), np.eye(4)))


def test_unknown_device_is_refused() -> None:
    with pytest.raises(UserError, match="choose auto, cpu or cuda"):
        Translator.load(make_bundle(), device="abacus")


def test_loading_leaves_the_random_stream_alone() -> None:
    bundle = make_bundle()
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    Translator.load(bundle)
    torch.testing.assert_close(torch.rand(2), expected, rtol=0, atol=0)


def test_from_generators_works_where_the_generators_are() -> None:
    translator = Translator.from_generators(
        make_config(), {"scan_to_style": Identity(), "style_to_scan": Identity()}, **facts()
    )
    assert translator.device.type == "cpu"
    slices = np.random.default_rng(0).uniform(-1, 1, (7, 1, 10, 9)).astype(np.float32)
    np.testing.assert_array_equal(translator.translate_slices(slices, "scan_to_style"), slices)


def test_a_loaded_model_multiplies_less_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)  # a CPU without AVX-512
    config = make_config(generator={"name": "resnet", "ngf": 48, "blocks": 1})
    bundle = make_bundle(config)
    slices = np.random.default_rng(0).uniform(-1, 1, (3, 1, 16, 16)).astype(np.float32)
    translator = Translator.load(bundle, "cpu", "fp32")
    generator = translator.generators["scan_to_style"]
    assert any(isinstance(m, WinogradConv) for m in generator.modules())
    assert can_stream(generator)
    direct = ResNetGenerator(ngf=48, blocks=1).eval()
    direct.load_state_dict(bundle.generator_state("scan_to_style"))
    with torch.no_grad():
        expected = direct(torch.from_numpy(slices)).numpy()
    ours = translator.translate_slices(slices, "scan_to_style")
    np.testing.assert_allclose(ours, expected, atol=1e-4)


def test_a_direction_that_is_none_is_told_with_the_two_that_are() -> None:
    translator = identity_translator()
    array = textured_body((20, 18, 6))
    told = r"direction 'sideways'.*scan_to_style and style_to_scan"
    for use in (
        lambda: translator(array, "sideways", affine=np.eye(4)),  # type: ignore[arg-type]
        lambda: translator.check_scope(array, "sideways", affine=np.eye(4)),  # type: ignore[arg-type]
        lambda: translator.translate_picture("a.png", "sideways"),  # type: ignore[arg-type]
        lambda: translator.uncertainty_over("sideways"),  # type: ignore[arg-type]
        lambda: plan_translation(translator, ["a.nii"], "out", "sideways"),  # type: ignore[arg-type]
        lambda: TranslateStyled("image", translator, "sideways"),  # type: ignore[arg-type]
    ):
        with pytest.raises(UserError, match=told):
            use()
