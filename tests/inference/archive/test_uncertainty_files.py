"""`medstyle translate --uncertainty`: the second file, from its name to the day it is missed."""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

import medstyle_gan.inference.outputs.committing as committing
from medstyle_gan.cli import main
from medstyle_gan.errors import UserError
from medstyle_gan.inference import Translator, plan_translation, save_bundle, translate_files
from medstyle_gan.inference.archive.memory import GIBIBYTE, MemoryPlan
from medstyle_gan.volumes import Workspace, find_series, read_header, read_series
from tests.end_to_end.tiny import assert_same_geometry, snapshot
from tests.volumes.dicom_objects import CANARY, write_series

from ..conftest import identity_translator, make_bundle, make_config, textured_body
from ..test_uncertainty import save_checkpoint
from .test_planning import touch

WriteScan = Callable[..., Path]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder whose model has 7 steps, with a checkpoint of step 5."""
    save_bundle(make_bundle(), tmp_path / "run" / "model")
    save_checkpoint(tmp_path / "run" / "checkpoints", make_bundle(seed=1), 5)
    return tmp_path / "run"


def command(model: Path, source: Path, out: Path, *more: str) -> list[str]:
    given = [str(model), str(source), "-o", str(out), "--precision", "fp32", "--uncertainty"]
    return ["translate", *given, *more]


@pytest.mark.parametrize("devices", ["1", "2"])
def test_it_stands_beside_the_translation_and_is_that_of_python(
    tmp_path: Path,
    run: Path,
    write_scan: WriteScan,
    monkeypatch: pytest.MonkeyPatch,
    repository: Path,
    devices: str,
) -> None:
    path, out = write_scan(f"in/{CANARY}/a.nii.gz", shape=(20, 18, 6)), tmp_path / "out"
    monkeypatch.setenv("PYTHONPATH", str(repository))
    assert main(command(run, path, out, "--devices", devices)) == 0
    written = out / "a_uncertainty.nii.gz"
    assert_same_geometry(path, written)
    expected = Translator.load(run, precision="fp32").translate(path, uncertainty=True)
    assert expected.uncertainty is not None
    assert nib.load(written).get_data_dtype() == np.float32
    spread = nib.load(written).get_fdata()
    np.testing.assert_allclose(spread, expected.uncertainty.array, rtol=1e-4, atol=1e-3)
    assert spread.max() > 1
    translation = nib.load(out / "a.nii.gz").get_fdata()
    np.testing.assert_allclose(translation, expected.image.array, atol=1)
    text = (out / "a.json").read_text()
    facts = json.loads(text)
    assert CANARY not in text
    assert facts["uncertainty_sha256"] == sha256(written.read_bytes()).hexdigest()
    assert facts["output_sha256"] == sha256((out / "a.nii.gz").read_bytes()).hexdigest()
    over = {"flips": [[], ["left_right"]], "steps": [7, 5], "translations": 4}
    assert facts["uncertainty"]["over"] == over
    assert "standard deviation" in facts["uncertainty"]["what"]


@pytest.mark.parametrize("ending", ["nrrd", "mha", "mhd"])
def test_other_formats_keep_theirs(
    tmp_path: Path, model: Path, write_scan: WriteScan, ending: str
) -> None:
    nifti = write_scan("a.nii.gz")
    path, out = tmp_path / "in" / f"a.{ending}", tmp_path / "out"
    path.parent.mkdir()
    sitk.WriteImage(sitk.ReadImage(nifti), path)
    assert main(command(model, path, out)) == 0
    written = sitk.ReadImage(out / f"a_uncertainty.{'mha' if ending == 'mhd' else ending}")
    expected = Translator.load(model, precision="fp32").translate(path, uncertainty=True)
    assert expected.uncertainty is not None
    array = sitk.GetArrayFromImage(written).T
    np.testing.assert_allclose(array, expected.uncertainty.array, rtol=1e-4, atol=1e-3)
    before = sitk.ReadImage(path)
    assert written.GetOrigin() == before.GetOrigin()
    np.testing.assert_allclose(written.GetSpacing(), before.GetSpacing(), rtol=1e-15)
    np.testing.assert_allclose(written.GetDirection(), before.GetDirection(), atol=1e-15)


def test_a_dicom_series_has_a_second_derived_series(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    write_series(source, textured_body((20, 18, 6)).astype(np.int16))
    assert main(command(model, source, out)) == 0
    (series,) = find_series(source)
    image = read_series(series)
    expected = Translator.load(model, precision="fp32").translate(image, uncertainty=True)
    assert expected.uncertainty is not None
    folder = out / "series-0003_uncertainty"
    (derived,) = find_series(folder)
    again = read_series(derived)
    step = np.ptp(expected.uncertainty.array) / 65534
    np.testing.assert_allclose(again.array, expected.uncertainty.array, atol=step + 1e-3)
    np.testing.assert_array_equal(again.geometry.affine, image.geometry.affine)
    (translated,) = find_series(out / "series-0003")
    assert translated.uid != derived.uid
    dataset, other = (pydicom.dcmread(s.files[0]) for s in (derived, translated))
    assert dataset.StudyInstanceUID == other.StudyInstanceUID
    assert dataset.SOPInstanceUID != other.SOPInstanceUID
    assert "Standard deviation" in dataset.DerivationDescription
    assert "uncertainty" in dataset.SeriesDescription
    assert main(command(model, source, out)) == 0
    assert "1 skipped" in capsys.readouterr().out
    jobs = plan_translation(identity_translator(), [out], tmp_path / "again")
    assert [job.input.name for job in jobs] == ["series-0003"]


def test_bids_keeps_the_contrasts_suffix_last(
    tmp_path: Path, model: Path, write_scan: WriteScan
) -> None:
    path, out = write_scan("sub-01/anat/sub-01_T1w.nii.gz"), tmp_path / "out"
    assert main(command(model, path, out, "--bids", "T2w")) == 0
    names = sorted(file.name for file in (out / "sub-01" / "anat").iterdir())
    assert names == [
        "sub-01_desc-syntheticUncertainty_T2w.nii.gz",
        "sub-01_desc-synthetic_T2w.json",
        "sub-01_desc-synthetic_T2w.nii.gz",
    ]
    jobs = plan_translation(identity_translator(), [out], tmp_path / "again")
    assert [job.input.name for job in jobs] == ["sub-01_desc-synthetic_T2w.nii.gz"]


def test_an_earlier_uncertainty_is_no_input_and_a_like_name_is(
    tmp_path: Path, model: Path, write_scan: WriteScan
) -> None:
    folder = write_scan("in/a.nii").parent
    assert main(command(model, folder / "a.nii", folder / "t2.nii")) == 0
    touch(folder, "b_uncertainty.nii")  # there is no b.json that says what it is
    jobs = plan_translation(identity_translator(), [folder], tmp_path / "out")
    assert [job.input.name for job in jobs] == ["a.nii", "b_uncertainty.nii", "t2.nii"]
    with pytest.raises(UserError, match=r"t2_uncertainty\.nii: is the uncertainty"):
        plan_translation(identity_translator(), [folder / "t2_uncertainty.nii"], tmp_path / "out")


def test_an_uncertainty_and_another_output_are_told_apart(tmp_path: Path) -> None:
    touch(tmp_path, "in/a.nii", "in/a_uncertainty.nii")
    translator, inputs, out = identity_translator(), [tmp_path / "in"], tmp_path / "out"
    jobs = plan_translation(translator, inputs, out)
    assert [job.output.name for job in jobs] == ["a.nii", "a_uncertainty.nii"]
    jobs = plan_translation(translator, inputs, out, uncertainty=True)
    assert [[path.name for path in job.targets] for job in jobs] == [
        ["a_nii.nii", "a_nii.json", "a_nii_uncertainty.nii"],
        ["a_uncertainty_nii.nii", "a_uncertainty_nii.json", "a_uncertainty_nii_uncertainty.nii"],
    ]
    assert not any(job.fault for job in jobs)


def _remove(path: Path) -> None:
    path.unlink()


def _change(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


@pytest.mark.parametrize(
    ("spoil", "reason"), [(_remove, "is missing"), (_change, "was changed after")]
)
def test_one_that_is_missing_or_changed_makes_the_output_stale(
    tmp_path: Path, write_scan: WriteScan, spoil: Callable[[Path], None], reason: str
) -> None:
    path, out = write_scan("a.nii"), tmp_path / "out"
    translator = Translator.load(make_bundle(), precision="fp32")

    def again(**options: bool) -> str:
        (outcome,) = translate_files(translator, [path], out, uncertainty=True, **options)
        return f"{outcome.status}: {outcome.reason}"

    assert again() == "done: "
    written = (out / "a_uncertainty.nii").read_bytes()
    assert again() == "skipped: "
    spoil(out / "a_uncertainty.nii")
    assert f"its uncertainty {reason}" in again()
    assert again(overwrite=True) == "done: "
    assert (out / "a_uncertainty.nii").read_bytes() == written


def test_asking_for_it_later_or_no_more_is_another_setting(
    tmp_path: Path, run: Path, write_scan: WriteScan
) -> None:
    path, out = write_scan("a.nii"), tmp_path / "out"

    def outcome(uncertainty: bool, overwrite: bool = False) -> str:
        translator = Translator.load(run, precision="fp32")
        (one,) = translate_files(
            translator, [path], out, overwrite=overwrite, uncertainty=uncertainty
        )
        return f"{one.status}: {one.reason}"

    assert outcome(False) == "done: "
    assert "other settings; --overwrite" in outcome(True)
    assert not (out / "a_uncertainty.nii").exists()
    assert outcome(True, overwrite=True) == "done: "
    save_checkpoint(run / "checkpoints", make_bundle(seed=2), 6)  # a third one's spread
    assert "other settings; --overwrite" in outcome(True)
    # Beside a translation without one, an old one would tell of something else.
    assert outcome(False, overwrite=True) == "done: "
    assert sorted(p.name for p in out.iterdir()) == ["a.json", "a.nii", "manifest.csv"]


def test_what_somebody_put_there_is_kept(tmp_path: Path, write_scan: WriteScan) -> None:
    path, out = write_scan("a.nii"), tmp_path / "out"
    touch(out, "a_uncertainty.nii")
    (outcome,) = translate_files(identity_translator(), [path], out, uncertainty=True)
    assert outcome.status == "stale"
    assert "a_uncertainty.nii, where its uncertainty goes" in outcome.reason
    assert not (out / "a.nii").exists()
    assert (out / "a_uncertainty.nii").read_bytes() == b""


@pytest.mark.parametrize("existed", [False, True])
def test_both_are_put_in_place_or_neither(
    tmp_path: Path, write_scan: WriteScan, monkeypatch: pytest.MonkeyPatch, existed: bool
) -> None:
    path, out = write_scan("a.nii"), tmp_path / "out"
    if existed:
        list(translate_files(identity_translator(), [path], out, uncertainty=True))
    out.mkdir(exist_ok=True)
    (out / "manifest.csv").unlink(missing_ok=True)
    before = snapshot(out)

    def fail(*_: object) -> None:
        assert (out / "a_uncertainty.nii").exists()  # the output is the last
        raise UserError("no more")

    monkeypatch.setattr(committing, "take_place", fail)
    other = Translator.load(make_bundle(), precision="fp32")
    (outcome,) = translate_files(other, [path], out, uncertainty=True, overwrite=True)
    assert (outcome.status, outcome.reason) == ("failed", f"{path}: no more")
    (out / "manifest.csv").unlink()
    after = snapshot(out)
    assert {n: b for n, (_, b) in after.items()} == {n: b for n, (_, b) in before.items()}


def test_one_whose_output_a_kill_prevented_is_done_again(
    tmp_path: Path, write_scan: WriteScan
) -> None:
    path, out = write_scan("a.nii"), tmp_path / "out"
    list(translate_files(identity_translator(), [path], out, uncertainty=True))
    (out / "a.nii").unlink()
    (outcome,) = translate_files(identity_translator(), [path], out, uncertainty=True)
    assert outcome.status == "done"


@pytest.mark.parametrize("stack", [False, True])
def test_pictures_are_refused_before_any_work(
    tmp_path: Path, write_scan: WriteScan, capsys: pytest.CaptureFixture[str], stack: bool
) -> None:
    bundle = make_bundle(channels={"style": 3}, pictures={"style": True})
    save_bundle(bundle, tmp_path / "model")
    more = ["inference.picture_output=png"] if stack else ["--direction", "style_to_scan"]
    path = write_scan("a.nii")
    assert main(command(tmp_path / "model", path, tmp_path / "out", *more)) == 2
    told = "picture_output=nifti" if stack else "no unit that a deviation could be told in"
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_single_translation_is_refused_before_any_work(
    tmp_path: Path, write_scan: WriteScan, capsys: pytest.CaptureFixture[str]
) -> None:
    sagittal = make_config().data.model_dump() | {"plane": "sagittal"}
    save_bundle(make_bundle(make_config(data=sagittal)), tmp_path / "model")
    assert main(command(tmp_path / "model", write_scan("a.nii"), tmp_path / "out")) == 2
    assert "inference.flips=[anterior_posterior]" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


class Counting(Workspace):
    """Keeps the most bytes of arrays that were alive at once."""

    now = most = 0

    def _take(self, count: int) -> bool:
        self.now += count
        self.most = max(self.most, self.now)
        return super()._take(count)

    def _give(self, count: int) -> None:
        self.now -= count
        super()._give(count)


@pytest.mark.parametrize("spacing", [(None, None, None), (1.2, 1.1, 2.2)])
def test_its_arrays_and_generators_are_foretold(
    tmp_path: Path, run: Path, write_scan: WriteScan, spacing: tuple[float | None, ...]
) -> None:
    path = write_scan("a.nii", shape=(48, 40, 12))
    config = make_config(data={"spacing": spacing})
    save_bundle(make_bundle(config), tmp_path / "other" / "model")
    (run / "checkpoints").rename(tmp_path / "other" / "checkpoints")
    translator = Translator.load(tmp_path / "other", precision="fp32")
    plan = MemoryPlan(translator, "scan_to_style", 8 * GIBIBYTE, 1)
    alone, beside = (plan.of_volume(read_header(path), asked) for asked in (False, True))
    workspace = Counting()
    translator.translate(path, workspace=workspace, uncertainty=True)
    assert alone.arrays < workspace.most <= beside.arrays
    generator = translator.generators["scan_to_style"]
    weights = sum(t.nbytes for t in (*generator.parameters(), *generator.buffers()))
    assert beside.resident - alone.resident == weights + beside.arrays - alone.arrays
    jobs = plan_translation(translator, [path], tmp_path / "out", uncertainty=True)
    assert plan.of_all(jobs) == (beside, [])
