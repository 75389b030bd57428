"""A disk that fills up: one message, exit code 2, no half file, and what stood before stays."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import nibabel as nib
import pytest

from medstyle_gan.cli import main
from medstyle_gan.data.phantom import PhantomFolders
from medstyle_gan.errors import UserError
from medstyle_gan.inference import load_bundle
from medstyle_gan.training import checkpoint_files, fit
from medstyle_gan.training.checkpoint import load_checkpoint
from medstyle_gan.training.metrics_csv import MetricsTable
from tests.end_to_end.full_disk import full_disk
from tests.end_to_end.tiny import TINY, snapshot, train_command

Capture = pytest.CaptureFixture[str]


def refused(capsys: Capture, *arguments: object) -> str:
    capsys.readouterr()
    assert main([str(argument) for argument in arguments]) == 2
    errors = capsys.readouterr().err
    assert "Traceback" not in errors
    assert errors.count("medstyle: error: ") == 1
    message = errors.partition("medstyle: error: ")[2]
    assert "choose another output folder or disk" in message
    return message


def outputs_in(out: Path) -> list[tuple[str, bytes]]:
    """All that stands in an output folder but the manifest, which tells of failures."""
    return [
        (name, content)
        for name, (_, content) in snapshot(out).items()
        if name != "manifest.csv" and not name.startswith(".medstyle")
    ]


def half_files(folder: Path) -> list[Path]:
    return list(folder.rglob("*.part"))


def on_call(number: int, largest: int, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, whose call of that number finds the disk full."""
    calls = 0

    @wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls != number:
            return function(*args, **kwargs)
        with full_disk(largest):
            return function(*args, **kwargs)

    return run


def assert_same_model(run: Path, other: Path) -> None:
    ours, theirs = load_bundle(run).state, load_bundle(other).state
    assert all(ours[name].equal(theirs[name]) for name in theirs)


def test_cache_stays_whole_and_is_filled_later(
    phantoms: PhantomFolders, tmp_path: Path, capsys: Capture
) -> None:
    cache, run = tmp_path / "cache", tmp_path / "run"
    command = train_command(
        phantoms.scans, phantoms.style, run, f"data.cache.folder={cache}", "training.steps=1"
    )
    with full_disk(8_000):
        message = refused(capsys, *command)
    assert message.startswith("the cache of preprocessed volumes cannot be written")
    assert "data.cache.folder" in message
    assert not list(cache.rglob("*.npy"))
    assert not half_files(tmp_path)
    assert not run.exists()
    assert main([str(word) for word in command]) == 0


def test_settings_of_a_run_are_whole_or_absent(
    phantoms: PhantomFolders, trained: Path, tmp_path: Path, capsys: Capture
) -> None:
    with full_disk(500):
        message = refused(capsys, *train_command(phantoms.scans, phantoms.style, tmp_path / "run"))
    assert message.startswith(f"{tmp_path / 'run' / 'config.yaml'}: cannot be written")
    assert not any((tmp_path / "run").iterdir())


def test_an_earlier_checkpoint_stays_and_the_run_goes_on_from_it(
    phantoms: PhantomFolders,
    trained: Path,
    tmp_path: Path,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = tmp_path / "run"
    largest = (trained / "checkpoints" / "last.ckpt").stat().st_size // 2
    save = on_call(2, largest, checkpoint_files.save_checkpoint)
    monkeypatch.setattr(checkpoint_files, "save_checkpoint", save)
    message = refused(
        capsys, *train_command(phantoms.scans, phantoms.style, run, "training.checkpoint_every=1")
    )
    monkeypatch.undo()
    assert message.startswith(f"{run / 'checkpoints'}")
    names = sorted(path.name for path in (run / "checkpoints").iterdir())
    assert names == ["last.ckpt", "step_00000001.ckpt"]
    assert load_checkpoint(run / "checkpoints" / "last.ckpt")["step"] == 1
    assert not half_files(run)

    assert main(["train", "--resume", "-o", str(run)]) == 0
    assert_same_model(run, trained)


def test_a_checkpoint_is_whole_or_absent_wherever_the_disk_was_full(
    phantoms: PhantomFolders, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = (trained / "checkpoints" / "last.ckpt").stat().st_size
    real, messages = checkpoint_files.save_checkpoint, []

    def save(path: Path, *args: Any, **kwargs: Any) -> None:
        # torch fails in another way at almost each place: while it writes, and in closing.
        for largest in range(1_000, int(0.9 * size), 9_001):
            with full_disk(largest), pytest.raises(UserError) as caught:
                real(path, *args, **kwargs)
            messages.append(str(caught.value))
            assert not list(path.parent.iterdir())
        raise caught.value

    monkeypatch.setattr(checkpoint_files, "save_checkpoint", save)
    command = train_command(phantoms.scans, phantoms.style, tmp_path / "run", "training.steps=1")
    assert main([str(word) for word in command]) == 2
    assert len(messages) > 30
    assert all("cannot be written (File too large)" in message for message in messages)


def test_a_model_that_could_not_be_written_is_written_by_resume(
    phantoms: PhantomFolders,
    trained: Path,
    tmp_path: Path,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = tmp_path / "run"
    monkeypatch.setattr(fit, "save_bundle", on_call(1, 20_000, fit.save_bundle))
    message = refused(capsys, *train_command(phantoms.scans, phantoms.style, run))
    monkeypatch.undo()
    assert message.startswith(f"{run / 'model'}")
    assert not any((run / "model").iterdir())

    assert main(["train", "--resume", "-o", str(run)]) == 0
    assert_same_model(run, trained)


def test_a_row_of_the_metrics_is_whole_or_absent(tmp_path: Path) -> None:
    table = MetricsTable(tmp_path / "metrics.csv")
    values = {"loss/cycle_scan": 1.25, "loss/generator": 2.5}
    table.write(1, values)
    before = snapshot(tmp_path)["metrics.csv"][1]
    with full_disk(len(before) + 5), pytest.raises(UserError, match=r"metrics\.csv: cannot"):
        table.write(2, values)
    assert snapshot(tmp_path)["metrics.csv"][1] == before
    assert not half_files(tmp_path)


@pytest.mark.parametrize("largest", [300, 3_000], ids=["sidecar", "volume"])
def test_a_translation_is_whole_or_absent(
    phantoms: PhantomFolders, trained: Path, tmp_path: Path, capsys: Capture, largest: int
) -> None:
    out = tmp_path / "out"
    with full_disk(largest):
        message = refused(capsys, "translate", trained, phantoms.scans, "-o", out)
    assert all(f"{out / scan.name}"[:-7] in message for scan in phantoms.scans.iterdir())
    assert outputs_in(out) == []


def test_a_translation_that_is_to_be_replaced_stays(
    phantoms: PhantomFolders, trained: Path, tmp_path: Path, capsys: Capture
) -> None:
    scan = sorted(phantoms.scans.iterdir())[0]
    command = ["translate", str(trained), str(scan), "-o", str(tmp_path)]
    assert main(command) == 0
    before = outputs_in(tmp_path)
    with full_disk(3_000):
        refused(capsys, *command, "--overwrite")
    assert outputs_in(tmp_path) == before


def test_files_before_the_disk_was_full_are_kept(
    phantoms: PhantomFolders, trained: Path, tmp_path: Path, capsys: Capture
) -> None:
    scans = shutil.copytree(phantoms.scans, tmp_path / "scans")
    large = nib.load(sorted(scans.iterdir())[1])
    path = sorted(scans.iterdir())[1].with_name("sub-500.nii")  # twice as many bytes as .nii.gz
    nib.save(nib.Nifti1Image(large.get_fdata(dtype="float32"), large.affine), path)
    out = tmp_path / "out"
    with full_disk(20_000):
        assert main(["translate", str(trained), str(scans), "-o", str(out)]) == 1
    errors = capsys.readouterr().err
    assert "1 of 4 files failed" in errors
    assert f"{out / path.name}: cannot be written" in errors
    assert len(list(out.glob("*.nii.gz"))) == len(list(out.glob("*.json"))) == 3
    assert not (out / path.name).exists()
    assert not half_files(out)


def test_a_report_of_check_is_whole_or_absent(
    phantoms: PhantomFolders, tmp_path: Path, capsys: Capture
) -> None:
    command = ["check", "--scans", phantoms.scans, "--style", phantoms.style, *TINY]
    with full_disk(10_000):
        refused(capsys, *command, "-o", tmp_path / "report")
    assert not any((tmp_path / "report").iterdir())


def test_a_full_disk_is_called_so(
    phantoms: PhantomFolders,
    trained: Path,
    tmp_path: Path,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fsync(file: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fsync)
    scan = sorted(phantoms.scans.iterdir())[0]
    command = ["translate", str(trained), str(scan), "-o", str(tmp_path / "out")]
    assert main(command) == 2
    assert "the disk is full or the quota used up" in capsys.readouterr().err
    assert outputs_in(tmp_path / "out") == []
