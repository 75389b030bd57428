from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset, MetaTensor
from monai.transforms import Compose, LoadImaged

from medstyle_gan.errors import UserError
from medstyle_gan.inference import TranslateStyled, Translator
from medstyle_gan.volumes import Volume, read_volume, write_volume

from .conftest import identity_translator, make_bundle, make_config, rotated, textured_body

AFFINE = rotated((1, 1.2, 2), "LPS", 10)
ARRAY = textured_body((20, 18, 6)).astype(np.int16)


@pytest.fixture(scope="module")
def translator() -> Translator:
    return Translator.load(make_bundle(), device="cpu", precision="fp32")


@pytest.fixture(scope="module")
def expected(translator: Translator) -> np.ndarray:
    return translator(nib.Nifti1Image(ARRAY, AFFINE)).get_fdata()


def test_path_and_volume_give_a_volume(
    translator: Translator, expected: np.ndarray, tmp_path: Path
) -> None:
    nib.save(nib.Nifti1Image(ARRAY, AFFINE), tmp_path / "scan.nii")
    for image in (tmp_path / "scan.nii", str(tmp_path / "scan.nii")):
        result = translator(image)
        assert isinstance(result, Volume)
        np.testing.assert_array_equal(result.array, expected)
    np.testing.assert_array_equal(translator(read_volume(image)).array, expected)


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("trailing", [(), (1,)])
@pytest.mark.parametrize("codes", [(2, 4), (2, 0), (0, 4)])
def test_nibabel_image_gives_one_with_its_geometry(
    translator: Translator,
    expected: np.ndarray,
    kind: Any,
    trailing: tuple[int, ...],
    codes: tuple[int, int],
) -> None:
    image = kind(ARRAY.reshape(*ARRAY.shape, *trailing), AFFINE)
    image.set_qform(AFFINE, code=codes[0])
    image.set_sform(AFFINE, code=codes[1])
    image.header.set_xyzt_units("mm", "sec")
    image.header["descrip"] = b"private"
    result = translator(image)
    assert type(result) is kind
    np.testing.assert_array_equal(result.affine, image.header.get_best_affine())
    assert result.shape == image.shape
    np.testing.assert_array_equal(result.get_fdata().reshape(ARRAY.shape), expected)
    for field in ("sform_code", "qform_code", "pixdim", "xyzt_units", "srow_x", "quatern_b"):
        np.testing.assert_array_equal(result.header[field], image.header[field], err_msg=field)
    assert result.header["descrip"].item() == b""


def test_a_nibabel_translation_is_written_as_the_volume_is(
    translator: Translator, tmp_path: Path
) -> None:
    image = nib.Nifti1Image(ARRAY, AFFINE)
    nib.save(translator(image), tmp_path / "a.nii")
    nib.save(image, tmp_path / "scan.nii")
    volume = translator(tmp_path / "scan.nii")
    write_volume(tmp_path / "b.nii", volume.array, volume.geometry, volume.dtype)
    assert (tmp_path / "a.nii").read_bytes() == (tmp_path / "b.nii").read_bytes()


@pytest.mark.parametrize("channel", [False, True])
@pytest.mark.parametrize("dtype", [np.int16, np.int64, np.float32, np.float64, np.uint8])
def test_array_gives_an_array(
    translator: Translator, expected: np.ndarray, channel: bool, dtype: Any
) -> None:
    small = (ARRAY // 4).astype(dtype) if dtype is np.uint8 else ARRAY.astype(dtype)
    result = translator(small[None] if channel else small, affine=AFFINE)
    assert type(result) is np.ndarray
    assert result.shape == ((1, *ARRAY.shape) if channel else ARRAY.shape)
    if dtype is not np.uint8:
        np.testing.assert_array_equal(result.reshape(ARRAY.shape), expected)


@pytest.mark.parametrize("dtype", [torch.int16, torch.float32, torch.float16])
def test_tensor_gives_a_tensor(
    translator: Translator, expected: np.ndarray, dtype: torch.dtype
) -> None:
    for image in (torch.from_numpy(ARRAY).to(dtype), torch.from_numpy(ARRAY).to(dtype)[None]):
        result = translator(image, affine=torch.from_numpy(AFFINE))
        assert type(result) is torch.Tensor
        assert result.dtype == torch.float32
        assert result.shape == image.shape
        np.testing.assert_allclose(result.reshape(ARRAY.shape), expected, atol=1)


def test_metatensor_keeps_its_affine_and_metadata(
    translator: Translator, expected: np.ndarray
) -> None:
    image = MetaTensor(torch.from_numpy(ARRAY)[None], affine=AFFINE, meta={"visit": 2})
    result = translator(image)
    assert isinstance(result, MetaTensor)
    np.testing.assert_array_equal(result[0], expected)
    np.testing.assert_array_equal(result.affine, AFFINE)
    assert result.meta["visit"] == 2
    assert image.dtype == torch.int16  # untouched


def test_colour_goes_where_the_channels_are() -> None:
    translator = Translator.load(make_bundle(channels={"style": 3}), device="cpu")
    assert translator(torch.from_numpy(ARRAY)[None], affine=AFFINE).shape == (3, *ARRAY.shape)
    assert translator(ARRAY, affine=AFFINE).shape == (*ARRAY.shape, 3)
    image = translator(nib.Nifti1Image(ARRAY, AFFINE))
    assert image.shape == ARRAY.shape
    assert image.get_data_dtype().names == ("R", "G", "B")
    colours = np.asarray(image.dataobj)
    rgb = np.stack([colours[name] for name in "RGB"], axis=-1)
    np.testing.assert_array_equal(rgb, translator(ARRAY, affine=AFFINE))


@pytest.mark.parametrize(
    ("image", "affine", "error", "message"),
    [
        (ARRAY, None, TypeError, "no geometry"),
        (torch.from_numpy(ARRAY), None, TypeError, "no geometry"),
        (nib.Nifti1Image(ARRAY, AFFINE), AFFINE, TypeError, "geometry of its own"),
        ([[1]], None, TypeError, "no image"),
        (ARRAY[0], AFFINE, UserError, "not one volume"),
        (np.stack([ARRAY, ARRAY]), AFFINE, UserError, "not one volume"),
        (ARRAY.astype(complex), AFFINE, UserError, "one grey value"),
        (np.zeros((4, 4, 4)), AFFINE, UserError, "same value"),
        (np.where(ARRAY > 0, ARRAY, np.nan), AFFINE, UserError, "NaN"),
        (ARRAY, np.zeros((4, 4)), UserError, "affine"),
        (ARRAY, np.eye(3), UserError, "affine"),
    ],
)
def test_what_cannot_be_translated_is_explained(
    image: Any, affine: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        identity_translator()(image, affine=affine)


def test_translator_is_copied_and_pickled(translator: Translator, expected: np.ndarray) -> None:
    for copied in (copy.deepcopy(translator), pickle.loads(pickle.dumps(translator))):
        np.testing.assert_array_equal(copied(ARRAY, affine=AFFINE), expected)


@pytest.mark.parametrize("form", ["path", "translator"])
@pytest.mark.parametrize("workers", [0, 2])
def test_transform_in_a_pipeline(
    model: Path, write_scan: Any, translator: Translator, form: str, workers: int
) -> None:
    paths = [write_scan(f"{seed}.nii.gz", seed=seed) for seed in range(3)]
    given: Any = model if form == "path" else translator
    transform = TranslateStyled("image", given, device="cpu", precision="fp32")
    pipeline = Compose([LoadImaged("image", ensure_channel_first=True), transform])
    data = Dataset([{"image": str(path), "subject": i} for i, path in enumerate(paths)], pipeline)
    batches = list(DataLoader(data, batch_size=1, num_workers=workers))
    assert [int(batch["subject"]) for batch in batches] == [0, 1, 2]
    for batch, path in zip(batches, paths, strict=True):
        wanted = translator(path)
        np.testing.assert_array_equal(batch["image"][0, 0], wanted.array)
        np.testing.assert_allclose(batch["image"].affine[0], wanted.geometry.affine, atol=1e-6)


def test_transform_loads_once_and_is_pickled_without_weights(model: Path) -> None:
    transform = TranslateStyled(["image", "other"], model, allow_missing_keys=True, device="cpu")
    assert transform.translator is transform.translator
    assert len(pickle.dumps(transform)) < 10_000
    result = transform({"image": MetaTensor(torch.from_numpy(ARRAY), affine=AFFINE), "n": 1})
    assert set(result) == {"image", "n"}
    with pytest.raises(KeyError):
        TranslateStyled("other", model)({"image": ARRAY})


def test_transform_translates_the_other_way(model: Path, translator: Translator) -> None:
    image = MetaTensor(torch.from_numpy(ARRAY), affine=AFFINE)
    transform = TranslateStyled(
        "image", model, direction="style_to_scan", device="cpu", precision="fp32"
    )
    wanted = translator(ARRAY, "style_to_scan", affine=AFFINE)
    np.testing.assert_array_equal(transform({"image": image})["image"], wanted)


def test_working_spacing_does_not_show(translator: Translator) -> None:
    coarse = Translator.load(make_bundle(make_config(data={"spacing": (2.0, 2.0, None)})), "cpu")
    assert coarse(ARRAY, affine=AFFINE).shape == ARRAY.shape
