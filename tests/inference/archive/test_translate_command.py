from __future__ import annotations

import resource
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from torch import nn

from medstyle_gan.cli import main
from medstyle_gan.cli.translate import warning_of
from medstyle_gan.config import load_config
from medstyle_gan.inference import Outcome, Translator, save_bundle
from medstyle_gan.inference.bundles import generators

from ..conftest import make_bundle, make_config

WriteScan = Callable[..., Path]


def test_translates_with_overrides_and_matches_python(
    tmp_path: Path, model: Path, write_scan: WriteScan, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = write_scan("in/a.nii.gz"), tmp_path / "out"
    arguments = [str(model), str(path.parent), "-o", str(out), "--precision", "fp32"]
    assert main(["translate", *arguments, "inference.batch_size=1"]) == 0
    written = nib.load(out / "a.nii.gz")
    expected = Translator.load(model, precision="fp32")(path)
    np.testing.assert_allclose(written.get_fdata(), expected.array, atol=1)
    np.testing.assert_array_equal(written.affine, nib.load(path).affine)
    output = capsys.readouterr()
    assert output.out.startswith("1 translated -> ")
    assert "100%" in output.err
    assert "a.nii.gz" not in output.err

    assert main(["translate", *arguments]) == 0
    assert "0 translated, 1 skipped (done before, verified)" in capsys.readouterr().out
    assert main(["translate", *arguments, "--overwrite"]) == 0
    assert capsys.readouterr().out.startswith("1 translated")


def test_a_model_is_loaded_once_for_all_files(
    tmp_path: Path, model: Path, write_scan: WriteScan, monkeypatch: pytest.MonkeyPatch
) -> None:
    for index in range(3):
        write_scan(f"in/{index}.nii", shape=(12, 12, 4), seed=index)
    loads = []
    read = generators.load_trained_weights

    def counted(network: nn.Module, weights: Any, direction: str) -> nn.Module:
        loads.append(direction)
        return read(network, weights, direction)

    monkeypatch.setattr(generators, "load_trained_weights", counted)
    assert main(["translate", str(model), str(tmp_path / "in"), "-o", str(tmp_path / "out")]) == 0
    assert sorted(loads) == ["scan_to_style", "style_to_scan"]


def test_both_directions_differ(tmp_path: Path, model: Path, write_scan: WriteScan) -> None:
    path = write_scan("a.nii")
    arrays = []
    for direction in ("scan_to_style", "style_to_scan"):
        out = tmp_path / direction
        command = ["translate", str(model), str(path), "-o", str(out), "--direction", direction]
        assert main(command) == 0
        arrays.append(nib.load(out / "a.nii").get_fdata())
    assert np.abs(arrays[0] - arrays[1]).mean() > 1


def test_bad_file_gives_exit_1_and_is_listed(
    tmp_path: Path, model: Path, write_scan: WriteScan, capsys: pytest.CaptureFixture[str]
) -> None:
    write_scan("in/a.nii.gz")
    bad = tmp_path / "in" / "bad.nii.gz"
    bad.write_bytes(b"")
    out = tmp_path / "out"
    assert main(["translate", str(model), str(tmp_path / "in"), "-o", str(out)]) == 1
    output = capsys.readouterr()
    assert "1 translated, 1 failed" in output.out
    assert str(bad) in output.err
    assert (out / "a.nii.gz").exists()


def test_a_file_that_claims_too_much_is_told_before_and_fails_alone(
    tmp_path: Path, model: Path, write_scan: WriteScan, capsys: pytest.CaptureFixture[str]
) -> None:
    good, out = write_scan("in/a.nii.gz"), tmp_path / "out"
    huge = good.with_name("huge.nii")
    header = nib.Nifti2Header()
    header.set_data_dtype(np.int16)
    header.set_data_shape((10**6, 10**6, 1))
    header.set_sform(np.eye(4), 1)
    header["vox_offset"] = header.single_vox_offset
    with huge.open("wb") as file:  # sparse, but as long as its header says
        file.write(header.binaryblock + bytes(4))
        file.truncate(544 + 2 * 10**12)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert main(["translate", str(model), str(good.parent), "-o", str(out)]) == 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # KiB
    errors = capsys.readouterr().err
    reason = f"{huge}: --max-memory 4: a volume of 1000000x1000000x1 needs about"
    told, failed = "1 of 2 inputs will not be translated", "1 of 2 files failed"
    assert errors.index(told) < errors.index(failed)
    assert errors.count(reason) == 2
    assert sorted(path.name for path in out.iterdir()) == ["a.json", "a.nii.gz", "manifest.csv"]

    assert main(["translate", str(model), str(huge), "-o", str(tmp_path / "alone")]) == 2
    assert reason in capsys.readouterr().err
    assert not (tmp_path / "alone").exists()
    huge.unlink()  # nothing that copies the folder shall meet it


def test_dtype_override_is_written(tmp_path: Path, model: Path, write_scan: WriteScan) -> None:
    out = tmp_path / "out"
    command = ["translate", str(model), str(write_scan("a.nii")), "-o", str(out)]
    assert main([*command, "inference.dtype=float32"]) == 0
    assert nib.load(out / "a.nii").get_data_dtype() == np.float32


def test_config_file_brings_its_inference_section(
    tmp_path: Path, model: Path, write_scan: WriteScan
) -> None:
    (tmp_path / "c.yaml").write_text("inference:\n  dtype: uint8\n")
    command = ["translate", str(model), str(write_scan("a.nii")), "-o", str(tmp_path / "out")]
    assert main([*command, "--config", str(tmp_path / "c.yaml")]) == 0
    assert nib.load(tmp_path / "out" / "a.nii").get_data_dtype() == np.uint8


def test_print_config_shows_the_models_own_and_is_accepted_back(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["translate", str(model), "any", "-o", "any", "inference.batch_size=5"]
    assert main([*command, "--print-config"]) == 0
    (tmp_path / "printed.yaml").write_text(capsys.readouterr().out)
    config = load_config(tmp_path / "printed.yaml")
    assert config.inference.batch_size == 5
    assert config.generator.ngf == 4


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert main(["translate", *map(str, arguments)]) == 2
    error = capsys.readouterr().err
    assert "medstyle: error: " in error
    assert "Traceback" not in error
    return error


def test_user_mistakes_exit_2_with_one_message(
    tmp_path: Path, model: Path, write_scan: WriteScan, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = write_scan("in/a.nii.gz"), tmp_path / "out"
    (tmp_path / "empty").mkdir()
    file = tmp_path / "file"
    file.touch()
    o = ("-o", out)
    assert "not a model folder" in refused(capsys, tmp_path / "empty", path, *o)
    assert "no such model" in refused(capsys, tmp_path / "none", path, *o)
    assert "nothing to translate" in refused(capsys, model, tmp_path / "empty", *o)
    assert "no such file" in refused(capsys, model, tmp_path / "none", *o)
    assert "file" in refused(capsys, model, path, "-o", file / "out")
    assert "would replace" in refused(capsys, model, path, "-o", path.parent, "--overwrite")
    assert "no INPUT" in refused(capsys, model, "inference.batch_size=2", *o)
    assert "training.steps" in refused(capsys, model, path, *o, "training.steps=3")
    assert "batch_size" in refused(capsys, model, path, *o, "inference.batch_sise=3")
    assert "inference.ema=false" in refused(capsys, model, path, *o, "inference.ema=false")
    assert "device" in refused(capsys, model, path, *o, "--device", "abacus")
    assert not out.exists()


@pytest.mark.parametrize("count", [1, 2])
def test_no_usable_input_at_all_exits_2(
    tmp_path: Path,
    model: Path,
    write_scan: WriteScan,
    capsys: pytest.CaptureFixture[str],
    count: int,
) -> None:
    for index in range(count):
        path = write_scan(f"in/{index}.nii.gz")
        path.write_bytes(path.read_bytes()[:-40])
    error = refused(capsys, model, tmp_path / "in", "-o", tmp_path / "out")
    for index in range(count):
        assert str(tmp_path / "in" / f"{index}.nii.gz") in error
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["manifest.csv"]


def test_one_unexpected_failure_exits_1(
    tmp_path: Path,
    write_scan: WriteScan,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = save_bundle(make_bundle(), tmp_path / "model")

    def break_down(*args: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(Translator, "translate", break_down)
    command = ["translate", str(model), str(write_scan("a.nii")), "-o", str(tmp_path / "out")]
    assert main(command) == 1
    assert "unexpected RuntimeError: a bug" in capsys.readouterr().err


def test_a_file_of_settings_need_not_repeat_which_weights_the_model_holds(
    tmp_path: Path, write_scan: WriteScan
) -> None:
    model = save_bundle(make_bundle(make_config(inference={"ema": False})), tmp_path / "model")
    settings = tmp_path / "mine.yaml"
    settings.write_text("inference: {batch_size: 1}\n")
    command = ["translate", str(model), str(write_scan("a.nii")), "-o", str(tmp_path / "out")]
    assert main([*command, "--config", str(settings)]) == 0


def test_a_diverged_models_failures_name_the_files(
    tmp_path: Path, write_scan: WriteScan, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = make_bundle()
    state = {name: tensor * float("nan") for name, tensor in bundle.state.items()}
    model = save_bundle(replace(bundle, state=state), tmp_path / "model")
    path = write_scan("a.nii")
    error = refused(capsys, model, path, "-o", tmp_path / "out")
    assert f"{path}: the generator gives NaN" in error


@pytest.mark.parametrize(
    ("count", "lines"),
    [
        (1, ["warning: a.nii: w0"]),
        (3, ["warning: a.nii:", "  - w0", "  - w1", "  - w2"]),
        (10, ["warning: a.nii:", "  - w0", "  - w1", "  - w2", "  and 7 more, see its JSON"]),
    ],
)
def test_warnings_of_a_file_are_a_short_list(count: int, lines: list[str]) -> None:
    warnings = tuple(f"w{number}" for number in range(count))
    outcome = Outcome(Path("a.nii"), Path("out/a.nii"), "done", "", 1.0, warnings=warnings)
    assert warning_of(outcome).splitlines() == lines


def test_renaming_all_files_and_bids_exclude_each_other(
    tmp_path: Path, model: Path, write_scan: WriteScan, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["translate", str(model), str(write_scan("a.nii")), "-o", str(tmp_path / "out")]
    assert main([*command, "--deidentify", "basic", "--bids", "T2w"]) == 2
    assert "leave out one of them" in capsys.readouterr().err
    assert main([*command, "--deidentify", "keep-patient", "--names", str(tmp_path / "n")]) == 2
    assert "changes no names" in capsys.readouterr().err
