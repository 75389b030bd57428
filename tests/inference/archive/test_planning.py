from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from medstyle_gan.errors import UserError
from medstyle_gan.inference import plan_translation

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
    # Also where one input's output is another input.
    with pytest.raises(UserError, match="would replace the input"):
        plan_translation(identity_translator(), [tmp_path / "other", a], tmp_path / "in")


@pytest.mark.parametrize("names", [("x/a.nii", "y/a.nii"), ("a.nii", "a.nii.gz")])
def test_two_inputs_with_one_output_are_refused(tmp_path: Path, names: tuple[str, str]) -> None:
    with pytest.raises(UserError, match="would both be written to") as caught:
        plan_translation(identity_translator(), touch(tmp_path, *names), tmp_path / "out")
    above = "give the folder above both" in str(caught.value)  # helps two folders alone
    assert above == (names[0] == "x/a.nii")


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


def test_names_that_are_not_bids_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "in/patient.nii")
    translator, folder, out = identity_translator(), tmp_path / "in", tmp_path / "out"
    with pytest.raises(UserError, match=r"patient\.nii: is not named as BIDS names it"):
        plan_translation(translator, [folder], out, bids="T2w")
    with pytest.raises(UserError, match="letters and digits only"):
        plan_translation(translator, [folder], out, bids="T2-w")
    with pytest.raises(UserError, match="names the files itself"):
        plan_translation(translator, [folder / "patient.nii"], tmp_path / "x.nii", bids="T2w")
