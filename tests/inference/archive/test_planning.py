from __future__ import annotations

import errno
import os
import re
from pathlib import Path

import pytest

from medstyle_gan.errors import UserError
from medstyle_gan.inference import Job, plan_translation
from medstyle_gan.inference.archive.naming import Pseudonyms
from medstyle_gan.volumes import UidMap

from ..conftest import identity_translator, make_config


def touch(folder: Path, *names: str) -> list[Path]:
    paths = [folder / name for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return paths


def test_folder_keeps_its_layout_and_named_file_its_name(tmp_path: Path) -> None:
    touch(tmp_path, "in/a.nii", "in/sub/b.nii.gz", "in/sub/readme.txt", "in/p.png", "c.nii.gz")
    out = tmp_path / "out"
    jobs = plan_translation(
        identity_translator(), [tmp_path / "in", str(tmp_path / "c.nii.gz")], out
    )
    assert [(j.input.name, j.output, j.sidecar) for j in jobs] == [
        ("a.nii", out / "a.nii", out / "a.json"),
        ("c.nii.gz", out / "c.nii.gz", out / "c.json"),
        ("b.nii.gz", out / "sub/b.nii.gz", out / "sub/b.json"),
    ]
    assert [job.relative.as_posix() for job in jobs] == ["a.nii", "c.nii.gz", "sub/b.nii.gz"]


def test_hidden_files_and_earlier_outputs_are_no_inputs(tmp_path: Path) -> None:
    touch(tmp_path, "a.nii", ".b.nii", ".cache/c.nii", "out/a.nii", "._d.nii")
    (tmp_path / "loop").symlink_to(tmp_path)
    jobs = plan_translation(identity_translator(), [tmp_path], tmp_path / "out")
    assert [job.input for job in jobs] == [tmp_path / "a.nii"]


def test_the_same_file_twice_is_translated_once(tmp_path: Path) -> None:
    (a,) = touch(tmp_path, "in/a.nii")
    (tmp_path / "in" / "link.nii").symlink_to(a)
    jobs = plan_translation(identity_translator(), [a, a, tmp_path / "in"], tmp_path / "out")
    assert len(jobs) == 1


def test_one_file_may_be_given_an_output_name(tmp_path: Path) -> None:
    a, b = touch(tmp_path, "a.nii", "b.nii")
    out = tmp_path / "new" / "t2.nii.gz"
    (job,) = plan_translation(identity_translator(), [a], out)
    assert (job.output, job.sidecar) == (out, tmp_path / "new" / "t2.json")
    with pytest.raises(UserError, match="need a folder"):
        plan_translation(identity_translator(), [a, b], out)
    with pytest.raises(UserError, match="would replace the input"):
        plan_translation(identity_translator(), [a], a)


def test_named_file_of_an_unknown_kind_is_kept_to_be_reported(tmp_path: Path) -> None:
    jobs = plan_translation(
        identity_translator(), touch(tmp_path, "a.nii", "notes.txt"), tmp_path / "out"
    )
    assert [job.input.name for job in jobs] == ["a.nii", "notes.txt"]


def test_output_that_is_an_input_is_refused(tmp_path: Path) -> None:
    a, _ = touch(tmp_path, "in/a.nii", "other/a.nii")
    for out in (tmp_path / "in", tmp_path / "in" / ".." / "in"):
        with pytest.raises(UserError, match="would replace the input"):
            plan_translation(identity_translator(), [tmp_path / "in"], out)
    (tmp_path / "linked").symlink_to(tmp_path / "in")
    with pytest.raises(UserError, match="would replace the input"):
        plan_translation(identity_translator(), [a], tmp_path / "linked")
    # Nor does one input's output replace another input.
    jobs = plan_translation(identity_translator(), [tmp_path / "other", a], tmp_path / "in")
    assert {job.output for job in jobs} == {tmp_path / "in/in/a.nii", tmp_path / "in/other/a.nii"}


def outputs_of(jobs: list[Job], out: Path) -> dict[str, tuple[str, str]]:
    """Name and output of each job that can be done, by its input's path."""
    return {
        "/".join(job.input.parts[-2:]): (
            job.relative.as_posix(),
            job.output.relative_to(out).as_posix(),
        )
        for job in jobs
        if not job.fault
    }


@pytest.mark.parametrize("named", ["files", "folders"])
def test_alike_names_from_several_folders_are_told_apart_by_them(
    tmp_path: Path, named: str
) -> None:
    files = touch(tmp_path, "in/x/a.nii", "in/y/a.nii", "in/y/deep/b.nii")
    inputs = files if named == "files" else [tmp_path / "in/x", tmp_path / "in/y"]
    out = tmp_path / "out"
    jobs = plan_translation(identity_translator(), inputs, out)
    assert outputs_of(jobs, out) == {
        "x/a.nii": ("x/a.nii", "x/a.nii"),
        "y/a.nii": ("y/a.nii", "y/a.nii"),
        "deep/b.nii": ("y/deep/b.nii", "y/deep/b.nii"),
    }
    # As they are where the folder above is given, and where nothing clashes.
    above = plan_translation(identity_translator(), [tmp_path / "in"], out)
    assert outputs_of(above, out) == outputs_of(jobs, out)
    (alone,) = plan_translation(identity_translator(), files[:1], out)
    assert alone.output == out / "a.nii"


def test_a_folder_and_one_in_it_are_told_apart(tmp_path: Path) -> None:
    files = touch(tmp_path, "in/a.nii", "in/y/a.nii")
    jobs = plan_translation(identity_translator(), files, tmp_path / "out")
    assert [job.output for job in jobs] == [tmp_path / "out/a.nii", tmp_path / "out/y/a.nii"]


def test_alike_names_in_one_folder_are_told_apart_by_their_endings(tmp_path: Path) -> None:
    touch(tmp_path, "in/a.nii", "in/a.nii.gz", "in/a.mha", "in/a.mhd", "in/b.nii")
    jobs = plan_translation(
        identity_translator(), [tmp_path / "in"], tmp_path / "out", uncertainty=False
    )
    assert {job.input.name: (job.output.name, job.sidecar.name) for job in jobs} == {
        "a.nii": ("a_nii.nii", "a_nii.json"),
        "a.nii.gz": ("a_nii_gz.nii.gz", "a_nii_gz.json"),
        "a.mha": ("a_mha.mha", "a_mha.json"),
        "a.mhd": ("a_mhd.mha", "a_mhd.json"),
        "b.nii": ("b.nii", "b.json"),
    }
    assert len({target for job in jobs for target in job.targets}) == 2 * len(jobs)


def test_what_cannot_be_told_apart_fails_alone(tmp_path: Path) -> None:
    touch(tmp_path, "in/a.jpg", "in/a.png", "in/a_jpg.png", "in/b.jpg")
    translator = identity_translator(pictures={"style": True})
    jobs = plan_translation(translator, [tmp_path / "in"], tmp_path / "out", "style_to_scan")
    faults = {job.input.name: job.fault for job in jobs if job.fault}
    assert faults.keys() == {"a.jpg", "a_jpg.png"}
    for fault in faults.values():
        assert str(tmp_path / "in/a.jpg") in fault
        assert str(tmp_path / "in/a_jpg.png") in fault
        assert "would both be written to" in fault
    assert sorted(job.output.name for job in jobs if not job.fault) == ["a_png.png", "b.png"]


def test_scans_of_one_subject_have_bids_names_of_their_own(tmp_path: Path) -> None:
    touch(
        tmp_path,
        *("in/sub-01/anat/sub-01_T1w.nii", "in/sub-01/anat/sub-01_FLAIR.nii"),
        *("in/sub-02/anat/sub-02_T1w.nii", "in/other/sub-03/anat/sub-03_T1w.nii"),
        "in/sub-03/anat/sub-03_T1w.nii",
    )
    jobs = plan_translation(identity_translator(), [tmp_path / "in"], tmp_path / "out", bids="T2w")
    assert sorted(job.output.name for job in jobs if not job.fault) == [
        "sub-01_desc-FLAIRSynthetic_T2w.nii",
        "sub-01_desc-T1wSynthetic_T2w.nii",
        "sub-02_desc-synthetic_T2w.nii",
    ]
    assert [job.input.name for job in jobs if job.fault] == ["sub-03_T1w.nii"] * 2


def test_nothing_to_translate_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "in/a.png")
    with pytest.raises(UserError, match=r"takes \.nii"):
        plan_translation(identity_translator(), [tmp_path / "in"], tmp_path / "out")
    with pytest.raises(UserError, match="no such file or folder"):
        plan_translation(identity_translator(), [tmp_path / "missing"], tmp_path / "out")


def test_out_that_is_a_file_is_refused(tmp_path: Path) -> None:
    a, out = touch(tmp_path, "a.nii", "out")
    with pytest.raises(UserError, match="is a file, not a folder"):
        plan_translation(identity_translator(), [a], out)


def test_picture_style_takes_pictures_back_to_scans(tmp_path: Path) -> None:
    touch(tmp_path, "in/a.jpg", "in/b.PNG", "in/c.nii")
    out = tmp_path / "out"
    translator = identity_translator(pictures={"style": True})
    jobs = plan_translation(translator, [tmp_path / "in"], out, "style_to_scan")
    assert [(job.output, job.kind) for job in jobs] == [
        (out / "a.png", "picture"),
        (out / "b.png", "picture"),
    ]


def test_png_output_is_a_folder_and_needs_a_style_of_pictures(tmp_path: Path) -> None:
    (a,) = touch(tmp_path, "a.nii.gz")
    config = make_config(inference={"picture_output": "png"})
    out = tmp_path / "out"
    (job,) = plan_translation(identity_translator(config, pictures={"style": True}), [a], out)
    assert (job.output, job.sidecar, job.kind) == (out / "a", out / "a.json", "picture_stack")
    with pytest.raises(UserError, match="set it to nifti"):
        plan_translation(identity_translator(config), [a], out)


def test_links_that_lead_nowhere_are_told(tmp_path: Path) -> None:
    (tmp_path / "loop.nii").symlink_to(tmp_path / "loop.nii")
    with pytest.raises(UserError, match=r"loop\.nii: is a symbolic link that leads"):
        plan_translation(identity_translator(), [tmp_path / "loop.nii"], tmp_path / "out")


def test_a_folder_that_cannot_be_read_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path, "in/a.nii", "in/closed/b.nii")
    scandir = os.scandir

    def deny(folder: str) -> object:
        if str(folder).endswith("closed"):
            raise PermissionError(errno.EACCES, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", deny)  # root, who may run tests, can read everything
    with pytest.raises(UserError, match=r"closed: the folder cannot be read"):
        plan_translation(identity_translator(), [tmp_path / "in"], tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sub-01/anat/sub-01_T1w.nii.gz", "sub-01/anat/sub-01_desc-synthetic_T2w.nii.gz"),
        (
            "x/sub-A1_ses-02_acq-hi_run-2_FLAIR.nii",
            "sub-A1/ses-02/anat/sub-A1_ses-02_acq-hi_run-2_desc-synthetic_T2w.nii",
        ),
        (
            "sub-01/perf/sub-01_space-orig_desc-preproc_asl.nii.gz",
            "sub-01/perf/sub-01_space-orig_desc-preprocSynthetic_T2w.nii.gz",
        ),
    ],
)
def test_bids_names(tmp_path: Path, name: str, expected: str) -> None:
    touch(tmp_path, f"in/{name}")
    out = tmp_path / "out"
    (job,) = plan_translation(identity_translator(), [tmp_path / "in"], out, bids="T2w")
    assert job.output == out / expected
    assert job.sidecar.name == f"{job.output.name.split('.')[0]}.json"


def test_a_call_without_any_bids_name_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "in/patient.nii")
    translator, folder, out = identity_translator(), tmp_path / "in", tmp_path / "out"
    with pytest.raises(UserError, match=r"patient\.nii: is not named as BIDS names it"):
        plan_translation(translator, [folder], out, bids="T2w")
    with pytest.raises(UserError, match="letters and digits only"):
        plan_translation(translator, [folder], out, bids="T2-w")
    with pytest.raises(UserError, match="names the files itself"):
        plan_translation(translator, [folder / "patient.nii"], tmp_path / "x.nii", bids="T2w")
    touch(tmp_path, "in/other.nii")
    with pytest.raises(UserError, match=r"leave --bids out \(nor is one of the other 1 inputs\)"):
        plan_translation(translator, [folder], out, bids="T2w")


def test_a_name_that_is_not_bids_fails_alone(tmp_path: Path) -> None:
    touch(tmp_path, "in/x/patient.nii", "in/y/patient.nii", "in/y/sub-01_T1w.nii", "in/b.nii.gz")
    out, inputs = tmp_path / "out", [tmp_path / "in/x", tmp_path / "in/y", tmp_path / "in/b.nii.gz"]
    jobs = plan_translation(identity_translator(), inputs, out, bids="T2w", uncertainty=False)
    assert [job.output.name for job in jobs if not job.fault] == ["sub-01_desc-synthetic_T2w.nii"]
    faulty = [job for job in jobs if job.fault]
    # Each has a row of its own in the manifest.
    assert len({job.output for job in faulty}) == len({job.relative for job in faulty}) == 3
    for job in faulty:
        assert job.fault.startswith(f"{job.input}: is not named as BIDS names it")
        assert str(tmp_path) not in job.told
    # What is not written can replace nothing.
    inside = plan_translation(identity_translator(), [tmp_path / "in"], tmp_path / "in", bids="T2w")
    assert sum(bool(job.fault) for job in inside) == 3


def test_pseudonyms_hide_names_and_stay_the_same(tmp_path: Path) -> None:
    first, second, third = touch(tmp_path, "in/DOE.nii.gz", "in/x/DOE.nii.gz", "in/ROE.nii")
    for number, path in enumerate((first, second, third)):
        path.write_bytes(bytes([number]))
    twin = third.with_name("copy of ROE.nii")
    twin.write_bytes(third.read_bytes())
    out, hiding = tmp_path / "out", Pseudonyms(files=True)

    def names(pseudonyms: Pseudonyms | None) -> dict[str, str]:
        jobs = plan_translation(
            identity_translator(), [tmp_path / "in"], out, pseudonyms=pseudonyms
        )
        assert all(job.private == (pseudonyms is not None and pseudonyms.files) for job in jobs)
        return {str(job.input.relative_to(tmp_path)): job.output.name for job in jobs}

    hidden = names(hiding)
    assert len(set(hidden.values())) == 4
    assert all(re.fullmatch(r"scan-[0-9a-f]{12}(-2)?\.nii(\.gz)?", n) for n in hidden.values())
    pair = {hidden["in/ROE.nii"], hidden["in/copy of ROE.nii"]}
    assert {name.replace("-2", "") for name in pair} == {min(pair, key=len)}
    assert names(Pseudonyms()) == names(None)  # of files that are no DICOM
    # A file keeps its pseudonym whatever it is called, and has another under a key.
    first.rename(first.with_name("renamed.nii.gz"))
    assert names(hiding)["in/renamed.nii.gz"] == hidden["in/DOE.nii.gz"]
    assert not set(names(Pseudonyms(UidMap(b"key"), files=True)).values()) & set(hidden.values())
