"""check → train → translate, and the demo, from the command line."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medstyle_gan.cli import main
from medstyle_gan.data.phantom import PhantomFolders
from medstyle_gan.inference import Translator, load_bundle
from tests.end_to_end.tiny import TINY, assert_same_geometry, snapshot


def test_check_describes_both_collections(
    phantoms: PhantomFolders, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--scans", str(phantoms.scans), "--style", str(phantoms.style)]
    assert main(["check", *arguments, "-o", str(tmp_path / "report"), *TINY]) == 0
    table = capsys.readouterr().out
    assert table.split("\n")[1].split() == ["files", "3", "3"]
    assert "40x40x8" in table
    figures = json.loads((tmp_path / "report" / "check.json").read_text())
    assert figures["style"]["subjects"] == ["sub-101", "sub-102", "sub-103"]
    assert (tmp_path / "report" / "contact_sheet.png").stat().st_size > 10_000


def test_train_leaves_a_whole_run(trained: Path) -> None:
    names = {str(p.relative_to(trained)) for p in trained.rglob("*") if p.is_file()}
    assert names == {
        ".lock",
        "config.yaml",
        "run.yaml",
        "metrics.csv",
        "samples/step_000001.png",
        "samples/step_000002.png",
        "checkpoints/last.ckpt",
        "checkpoints/step_00000002.ckpt",
        "checkpoints/best.ckpt",
        "model/generators.safetensors",
        "model/model.yaml",
    }
    with (trained / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["1", "2"]
    for term in ("cycle_scan", "identity_style", "perceptual_scan_to_style", "style_style_to_scan"):
        assert all(float(row[f"loss/{term}"]) > 0 for row in rows)


def test_train_says_at_the_start_what_it_found_and_at_the_end_how_to_go_on(
    phantoms: PhantomFolders, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    collections = ["--scans", str(phantoms.scans), "--style", str(phantoms.style)]
    assert main(["train", *collections, "-o", str(run), *TINY]) == 0
    output = capsys.readouterr()
    assert output.err.startswith("2 scans of 2 subjects, 2 style items of 2 subjects (2 more held")
    assert "step 2/2" in output.err
    assert "W&B" not in output.err
    assert f"medstyle translate {run} SCAN... -o OUT" in output.out


def test_a_finished_run_is_resumed_without_its_settings_and_stays_as_it_is(
    trained: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(trained, tmp_path / "run")
    assert main(["train", "--resume", "-o", str(run)]) == 0
    before, after = load_bundle(trained).state, load_bundle(run).state
    assert all(before[name].equal(after[name]) for name in before)
    assert (run / "metrics.csv").read_bytes() == (trained / "metrics.csv").read_bytes()


def test_pairs_without_a_mask_are_announced(
    phantoms: PhantomFolders, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = shutil.copytree(phantoms.pairs, tmp_path / "pairs")
    collections = ["--scans", str(phantoms.scans), "--style", str(phantoms.style)]
    command = ["train", *collections, "--pairs", str(pairs), *TINY, "training.steps=1"]
    assert main([*command, "-o", str(tmp_path / "with_mask")]) == 0
    assert "mask" not in capsys.readouterr().err

    (pairs / "sub-201" / "mask.nii.gz").unlink()
    assert main([*command, "-o", str(tmp_path / "without_mask")]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if "mask" in line] == [
        "1 of 1 pairs have no mask (sub-201): they are scored in the foreground found in their scan"
    ]
    with (tmp_path / "without_mask" / "metrics.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert float(row["validation/psnr"]) > 0


@pytest.mark.parametrize("direction", ["scan_to_style", "style_to_scan"])
def test_translations_lie_exactly_where_their_inputs_lie(
    phantoms: PhantomFolders, trained: Path, tmp_path: Path, direction: str
) -> None:
    inputs = phantoms.scans if direction == "scan_to_style" else phantoms.style
    command = ["translate", str(trained), str(inputs), "-o", str(tmp_path / "out")]
    assert main([*command, "--direction", direction]) == 0
    files = sorted(inputs.iterdir())
    names = [file.name for file in files]
    assert sorted(p.name for p in (tmp_path / "out").glob("*.nii.gz")) == names
    for file in files:
        output = tmp_path / "out" / file.name
        assert_same_geometry(output, file)
        voxels = np.asarray(nib.load(output).dataobj)
        assert voxels.dtype == np.int16  # as both collections are
        assert voxels.std() > 0
        sidecar = json.loads((tmp_path / "out" / f"{file.name[:-7]}.json").read_text())
        assert sidecar["synthetic"] is True
        assert sidecar["direction"] == direction
        assert sidecar["model"]["steps"] == 2


def oblique(scan: nib.Nifti1Image) -> nib.Nifti1Image:
    turn = nib.eulerangles.euler2mat(0.3, -0.2, 0.1)
    affine = scan.affine.copy()
    affine[:3, :3] = turn @ affine[:3, :3]
    image = nib.Nifti1Image(np.asarray(scan.dataobj), affine)
    image.set_sform(affine, code=2)
    image.set_qform(affine, code=1)
    return image


def coronal_first(scan: nib.Nifti1Image) -> nib.Nifti1Image:
    start, end = nib.io_orientation(scan.affine), nib.orientations.axcodes2ornt("PIL")
    return scan.as_reoriented(nib.orientations.ornt_transform(start, end))


def with_a_time_axis(scan: nib.Nifti1Image) -> nib.Nifti1Image:
    image = nib.Nifti1Image(np.asarray(scan.dataobj)[..., None], scan.affine)
    image.header.set_xyzt_units("mm", "sec")
    image.header["pixdim"][4] = 2.5
    return image


def nifti_2_scaled(scan: nib.Nifti1Image) -> nib.Nifti2Image:
    image = nib.Nifti2Image(np.asarray(scan.dataobj).astype(np.uint16), scan.affine)
    image.header.set_slope_inter(0.25, -3)
    return image


@pytest.mark.parametrize("change", [oblique, coronal_first, with_a_time_axis, nifti_2_scaled])
def test_unusual_geometry_comes_back_unchanged(
    phantoms: PhantomFolders,
    trained: Path,
    tmp_path: Path,
    change: Callable[[nib.Nifti1Image], nib.Nifti1Image],
) -> None:
    path = tmp_path / "scan.nii.gz"
    nib.save(change(nib.load(sorted(phantoms.scans.iterdir())[0])), path)
    assert main(["translate", str(trained), str(path), "-o", str(tmp_path / "out")]) == 0
    assert_same_geometry(tmp_path / "out" / "scan.nii.gz", path)


def test_existing_translations_are_skipped_and_one_bad_file_does_not_stop_the_rest(
    phantoms: PhantomFolders, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, scans = tmp_path / "out", sorted(map(str, phantoms.scans.iterdir()))
    command = ["translate", str(trained), "-o", str(out)]
    assert main([*command, scans[0]]) == 0
    before = snapshot(out)

    bad = tmp_path / "sub-666.nii.gz"
    bad.write_bytes(Path(scans[0]).read_bytes()[:-500])
    capsys.readouterr()
    assert main([*command, scans[0], str(bad), scans[1]]) == 1
    output = capsys.readouterr()
    assert output.out.startswith("1 translated, 1 skipped")
    assert "1 failed" in output.out
    assert f"{bad}: is truncated" in output.err
    after = snapshot(out)
    assert {name: after[name] for name in before if name != "manifest.csv"} == {
        name: content for name, content in before.items() if name != "manifest.csv"
    }
    assert len(list(out.glob("*.nii.gz"))) == 2
    assert not (out / bad.name).exists()

    assert main([*command, scans[0], "--overwrite"]) == 0
    again = snapshot(out)
    name = Path(scans[0]).name
    assert again[name][0] != before[name][0]
    assert again[name][1] == before[name][1]  # the same model makes the same bytes


def test_python_gives_what_the_command_gives(
    phantoms: PhantomFolders, trained: Path, tmp_path: Path
) -> None:
    scan = sorted(phantoms.scans.iterdir())[0]
    assert main(["translate", str(trained), str(scan), "-o", str(tmp_path)]) == 0
    written = nib.load(tmp_path / scan.name).get_fdata()
    np.testing.assert_array_equal(Translator.load(trained)(scan).array, written)


def test_the_demo_run_twice_keeps_the_first_and_makes_a_second(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["demo", "-o", str(tmp_path / "demo"), "--quick", *TINY[-6:]]
    assert main(command) == 0
    table = capsys.readouterr().out
    for name in ("translation", "doing nothing", "percentile matching", "histogram matching"):
        assert name in table
    first = snapshot(tmp_path / "demo")
    assert {"demo.png", "figures.json", "run/model/model.yaml"} <= first.keys()

    assert main(command) == 0
    assert snapshot(tmp_path / "demo") == first
    second = snapshot(tmp_path / "demo-2")
    assert second["data/scans/sub-001_T1w.nii.gz"][1] == first["data/scans/sub-001_T1w.nii.gz"][1]
    rows = [json.loads(run["figures.json"][1])["rows"] for run in (first, second)]
    assert rows[0] == rows[1]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["demo", "demo-2"]
