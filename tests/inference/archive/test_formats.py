"""`medstyle translate` over an archive of every format, opened again by SimpleITK and pydicom."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.uid import generate_uid

from medstyle_gan.cli import main
from medstyle_gan.inference import Translator, save_bundle, translate_files
from medstyle_gan.volumes import (
    find_series,
    read_picture,
    read_series,
    read_volume,
    write_picture,
)
from tests.volumes.dicom_objects import CANARY, FRAME, STUDY, write_enhanced, write_series
from tests.volumes.dicom_objects import SERIES as SERIES_UID
from tests.volumes.test_dicom_reading import assert_same_volume, by_itk

from ..conftest import identity_translator, make_bundle, make_config, textured_body

ARRAY = textured_body((20, 18, 6)).astype(np.int16)
OTHER = generate_uid(entropy_srcs=["other"])
OUTPUTS = ["a.nii.gz", "b.nrrd", "c.mha", "d.mha"]
# Outputs of one study, by the folder of their source: series numbers need not differ.
SERIES = {"series-0003": "many", "series-0003-2": "one", "series-0007": "many"}


def number_7(dataset: pydicom.Dataset, _: int) -> None:
    dataset.SeriesNumber = 7


def own_series(dataset: pydicom.Dataset, _: int) -> None:
    dataset.SeriesInstanceUID = generate_uid(entropy_srcs=["enhanced series"])


@pytest.fixture
def archive(tmp_path: Path, write_scan: Callable[..., Path]) -> Path:
    """One scan in every format; two series share a folder, as exports have them."""
    folder = write_scan("in/a.nii.gz", (20, 18, 6)).parent
    image = sitk.ReadImage(folder / "a.nii.gz")
    for name in ("b.nrrd", "c.mha", "d.mhd"):
        image.SetMetaData("PatientName", CANARY)
        sitk.WriteImage(image, folder / name)
    write_series(folder / "one", ARRAY)
    write_enhanced(folder / "many/frames", ARRAY, edit=own_series)
    write_series(folder / "many", ARRAY, series=OTHER, edit=number_7)
    return folder


def contents(folder: Path) -> bytes:
    return b"\n".join(f.read_bytes() for f in folder.rglob("*") if f.is_file())


def test_an_archive_of_every_format_is_translated_in_its_formats(
    tmp_path: Path, model: Path, archive: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    command = ["translate", str(model), str(archive), "-o", str(out), "--precision", "fp32"]
    assert main(command) == 0
    assert "7 translated" in capsys.readouterr().out
    sidecars = [Path(name).with_suffix("").with_suffix(".json") for name in OUTPUTS]
    (study,) = out.glob("study-*")
    sidecars += [study / f"{name}.json" for name in SERIES]
    for sidecar in sidecars:
        assert json.loads((out / sidecar).read_text())["synthetic"] is True
    translator = Translator.load(model, precision="fp32")
    expected = translator(archive / "a.nii.gz")
    for name, source in zip(OUTPUTS, ["a.nii.gz", "b.nrrd", "c.mha", "d.mhd"], strict=True):
        written, before = sitk.ReadImage(out / name), sitk.ReadImage(archive / source)
        np.testing.assert_allclose(sitk.GetArrayFromImage(written).T, expected.array, atol=1)
        np.testing.assert_allclose(written.GetSpacing(), before.GetSpacing(), rtol=1e-15)
        np.testing.assert_allclose(written.GetDirection(), before.GetDirection(), atol=1e-15)
        assert written.GetOrigin() == before.GetOrigin()
    for name, folder in SERIES.items():
        (derived,) = find_series(study / name)
        again = read_series(derived)
        sources = find_series(archive / folder)
        (source,) = (s for s in sources if s.number == int(name[7:11]))
        expected = translator(read_series(source))
        np.testing.assert_allclose(again.array, expected.array, atol=1)
        np.testing.assert_array_equal(again.geometry.affine, expected.geometry.affine)
        if len(derived.files) > 1:
            assert_same_volume(again, by_itk(study / name))
        dataset = pydicom.dcmread(derived.files[0])
        assert dataset.ImageType[:2] == ["DERIVED", "SECONDARY"]
        assert dataset.PatientIdentityRemoved == "YES"
        assert "not acquired" in dataset.DerivationDescription
        assert translator.model_hash is not None
        assert translator.model_hash[:16] in dataset.DerivationDescription
    # One study stays one, and tells of nobody.
    studies = {pydicom.dcmread(f).StudyInstanceUID for f in out.rglob("*.dcm")}
    assert len(studies) == 1
    for text in (CANARY, STUDY, FRAME, "20240203"):
        assert text.encode() not in contents(out)

    assert main(command) == 0
    assert "0 translated, 7 skipped (done before, verified)" in capsys.readouterr().out


def test_keeping_the_patient_lets_viewers_overlay_source_and_translation(
    tmp_path: Path, model: Path, archive: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["translate", str(model), str(archive / "one"), "-o", str(tmp_path / "out")]
    assert main([*command, "--deidentify", "keep-patient"]) == 0
    (series,) = find_series(tmp_path / "out")
    dataset = pydicom.dcmread(series.files[0])
    assert dataset.PatientName == CANARY
    assert (dataset.StudyInstanceUID, dataset.FrameOfReferenceUID) == (STUDY, FRAME)
    # Another profile is another translation, and replaced only when asked.
    assert main([*command, "--deidentify", "basic"]) == 1
    assert "other settings" in capsys.readouterr().err
    assert main([*command, "--deidentify", "basic", "--overwrite"]) == 0
    assert CANARY.encode() not in contents(tmp_path / "out")


def test_a_bad_series_fails_alone_and_with_its_reason(
    tmp_path: Path, model: Path, archive: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (source,) = find_series(archive / "one")
    heights = {f: float(pydicom.dcmread(f).ImagePositionPatient[2]) for f in source.files}
    sorted(heights, key=lambda file: heights[file])[2].unlink()
    out = tmp_path / "out"
    assert main(["translate", str(model), str(archive), "-o", str(out)]) == 1
    printed = capsys.readouterr()
    assert "6 translated, 1 failed" in printed.out
    assert "1 missing" in printed.err
    assert str(archive / "one") in printed.err
    (study,) = out.glob("study-*")
    assert not (study / "series-0003-2").exists()
    assert f"{study.name}/series-0003-2" in (out / "manifest.csv").read_text()
    for text in (CANARY, SERIES_UID):
        assert text.encode() not in contents(out)


def test_dicom_files_that_are_named_make_up_their_series(
    tmp_path: Path, model: Path, archive: Path
) -> None:
    files = [str(file) for file in sorted((archive / "one").iterdir())]
    assert main(["translate", str(model), *files, "-o", str(tmp_path / "out")]) == 0
    assert read_volume(tmp_path / "out/series-0003").geometry.shape == (20, 18, 6)


def test_a_series_becomes_a_file_where_one_is_named(
    tmp_path: Path, model: Path, archive: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("x.nii.gz", "y.mha"):
        command = ["translate", str(model), str(archive / "one"), "-o", str(tmp_path / name)]
        assert main(command) == 0
        written = read_volume(tmp_path / name)
        assert written.geometry.same_grid(read_volume(archive / "one").geometry)
    assert nib.load(tmp_path / "x.nii.gz").header["sform_code"] == 1
    command = ["translate", str(model), str(archive / "a.nii.gz"), "-o", str(tmp_path / "x.mhd")]
    assert main(command) == 2
    assert "name it .mha" in capsys.readouterr().err


def test_several_processes_share_one_secret(
    tmp_path: Path, model: Path, archive: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    command = ["translate", str(model), str(archive), "-o", str(out)]
    assert main([*command, "--shard", "1/2"]) == 2
    assert "--uid-key" in capsys.readouterr().err
    assert main([*command, "--uid-key", str(out / "key")]) == 2
    assert "undo" in capsys.readouterr().err
    for part in ("1/2", "2/2"):
        key = ["--uid-key", str(tmp_path / "secret/key")]
        assert main([*command, *key, "--shard", part]) == 0
    studies = {pydicom.dcmread(f).StudyInstanceUID for f in out.rglob("*.dcm")}
    assert len(studies) == 1
    assert (tmp_path / "secret/key").stat().st_mode & 0o077 == 0


def test_a_colour_style_makes_no_series(
    tmp_path: Path, archive: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    colour = save_bundle(
        make_bundle(channels={"style": 3}, pictures={"style": True}), tmp_path / "colour"
    )
    command = ["translate", str(colour), str(archive / "one"), "-o", str(tmp_path / "out")]
    assert main(command) == 2
    assert "picture_output=png" in capsys.readouterr().err
    assert main([*command, "inference.picture_output=png"]) == 0
    assert len(list((tmp_path / "out/series-0003").glob("*.png"))) == 6


@pytest.mark.parametrize("name", ["x.png", "x.jpg"])
def test_a_picture_is_written_as_it_is_named(tmp_path: Path, name: str) -> None:
    smooth = np.broadcast_to(np.linspace(40, 200, 16)[:, None], (16, 16)).astype(np.uint8)
    write_picture(tmp_path / "in.jpg", smooth)
    config = make_config(data={"sample_size": (16, 16)})
    translator = identity_translator(config, pictures={"style": True})
    outcomes = translate_files(
        translator, [tmp_path / "in.jpg"], tmp_path / name, "style_to_scan", mark=False
    )
    assert [outcome.output for outcome in outcomes] == [tmp_path / name]
    written = read_picture(tmp_path / name)
    np.testing.assert_allclose(written.array[..., 0].astype(int), smooth, atol=6)
    assert (tmp_path / "x.json").exists()
