"""Archives survive SIGKILL, rivals and full disks: nothing half, nothing twice, nothing lost."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from medstyle_gan.cli import main
from medstyle_gan.inference import Translator, plan_translation, run_translation
from medstyle_gan.inference.archive.manifest import open_manifest
from medstyle_gan.inference.archive.sharding import Shard

from ..conftest import CANARY, identity_translator

WriteScan = Callable[..., Path]
NAMES = [
    "plain",
    "with space",
    "quo'te\"",
    "ünï 日本",
    "-dash",
    "a;b&c$(d)",
    "per%20cent",
    "com,ma",
]


def rows_of(out: Path) -> dict[str, dict[str, str]]:
    with (out / "manifest.csv").open(newline="", encoding="utf-8") as file:
        return {row["output"]: row for row in csv.DictReader(file)}


def contents(out: Path, suffix: str) -> dict[str, bytes]:
    return {str(p.relative_to(out)): p.read_bytes() for p in sorted(out.rglob(f"*{suffix}"))}


def test_a_killed_archive_goes_on_and_ends_as_if_nothing_had_happened(
    tmp_path: Path, model: Path, write_scan: WriteScan, repository: Path
) -> None:
    for index in range(24):
        write_scan(f"in/{index % 3}/{index}.nii.gz", shape=(24, 24, 6), seed=index)
    out = tmp_path / "out"
    program = Path(__file__).with_name("killed_translations.py")
    process = subprocess.run(
        [sys.executable, *map(str, (program, model, tmp_path / "in", out, 4))],
        env={**os.environ, "PYTHONPATH": str(repository), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    seen = json.loads(process.stdout)
    assert seen["wrong"] == []
    assert seen["code"] == 0
    # Each start kept what there was, and went on from it.
    assert all(earlier < later for earlier, later in pairwise([0, *seen["counts"]]))

    assert {row["status"] for row in rows_of(out).values()} == {"done"}
    assert len(rows_of(out)) == 24
    assert [path.name for path in out.iterdir() if path.name.startswith(".")] == []
    assert not list(out.rglob("*.part"))
    undisturbed = tmp_path / "undisturbed"
    assert main(["translate", str(model), str(tmp_path / "in"), "-o", str(undisturbed)]) == 0
    assert contents(out, ".nii.gz") == contents(undisturbed, ".nii.gz")


def test_names_of_all_kinds_and_no_path_in_the_manifest(
    tmp_path: Path, model: Path, write_scan: WriteScan
) -> None:
    for name in NAMES:
        write_scan(f"{CANARY}/in/{name}.nii.gz", shape=(12, 12, 4))
    (tmp_path / CANARY / "in" / "broken one.nii").write_bytes(b"")
    out = tmp_path / CANARY / "out"
    assert main(["translate", str(model), str(tmp_path / CANARY / "in"), "-o", str(out)]) == 1
    rows = rows_of(out)
    assert {name for name, row in rows.items() if row["status"] == "done"} == {
        f"{name}.nii.gz" for name in NAMES
    }
    assert rows["broken one.nii"]["status"] == "failed"
    assert rows["broken one.nii"]["warnings"].startswith("broken one.nii: is empty")
    text = (out / "manifest.csv").read_text(encoding="utf-8")
    assert CANARY not in text
    assert str(tmp_path) not in text
    assert all((out / f"{name}.json").exists() for name in NAMES)


def test_shards_and_ranks_share_an_archive_out(
    tmp_path: Path, model: Path, write_scan: WriteScan, monkeypatch: pytest.MonkeyPatch
) -> None:
    for index in range(5):
        write_scan(f"in/{index}.nii", shape=(12, 12, 4), seed=index)
    out = tmp_path / "out"
    command = ["translate", str(model), str(tmp_path / "in"), "-o", str(out)]
    assert main([*command, "--shard", "1/2"]) == 0
    assert sorted(rows_of(out)) == ["0.nii", "2.nii", "4.nii"]
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(command) == 0
    assert sorted(rows_of(out)) == ["0.nii", "1.nii", "2.nii", "3.nii", "4.nii"]
    assert all(row["status"] == "done" for row in rows_of(out).values())


def test_a_shard_is_shared_out_among_the_processes_of_its_launcher(
    tmp_path: Path, model: Path, write_scan: WriteScan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two machines with `--shard i/2`, on each of which torchrun has started two processes."""
    for index in range(6):
        write_scan(f"in/{index}.nii", shape=(12, 12, 4), seed=index)
    out = tmp_path / "out"
    command = ["translate", str(model), str(tmp_path / "in"), "-o", str(out)]
    monkeypatch.setenv("WORLD_SIZE", "2")
    parts = []
    for shard in ("1/2", "2/2"):
        for rank in ("0", "1"):
            before = set(rows_of(out)) if out.exists() else set()
            monkeypatch.setenv("RANK", rank)
            assert main([*command, "--shard", shard]) == 0
            parts.append(sorted(set(rows_of(out)) - before))
    assert parts == [["0.nii", "4.nii"], ["1.nii", "5.nii"], ["2.nii"], ["3.nii"]]
    assert all(row["status"] == "done" for row in rows_of(out).values())


def test_devices_start_processes_that_share_an_archive_out(
    tmp_path: Path,
    model: Path,
    write_scan: WriteScan,
    monkeypatch: pytest.MonkeyPatch,
    repository: Path,
) -> None:
    for index in range(3):
        write_scan(f"in/{index}.nii", shape=(12, 12, 4), seed=index)
    out = tmp_path / "out"
    monkeypatch.setenv("PYTHONPATH", str(repository))
    command = ["translate", str(model), str(tmp_path / "in"), "-o", str(out), "--devices", "2"]
    assert main([*command, "inference.dtype=float32"]) == 0
    assert sorted(rows_of(out)) == ["0.nii", "1.nii", "2.nii"]
    assert not (out / ".medstyle").exists()


def test_a_second_process_on_the_same_files_is_refused(
    tmp_path: Path, model: Path, write_scan: WriteScan, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = write_scan("a.nii"), tmp_path / "out"
    command = ["translate", str(model), str(path), "-o", str(out)]
    with open_manifest(out, Shard()):
        assert main(command) == 2
        assert "another medstyle translate is writing the same files" in capsys.readouterr().err
    assert main(command) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--shard", "3/2"], "--shard 3/2: give i/n"),
        (["--max-memory", "0"], "--max-memory 0: give GiB above 0"),
        (["--max-memory", "nan"], "--max-memory nan: give GiB above 0"),
        (["--max-memory", "0.5"], "raise --max-memory"),
        (["--workers", "0"], "--workers 0: give 1 or more"),
        (["--devices", "-1"], "--devices -1: give 1 or more"),
        (["--bids", "T2w"], "is not named as BIDS names it"),
    ],
)
def test_wrong_options_are_refused_before_any_work(
    tmp_path: Path,
    model: Path,
    write_scan: WriteScan,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    message: str,
) -> None:
    out = tmp_path / "out"
    assert main(["translate", str(model), str(write_scan("a.nii")), "-o", str(out), *options]) == 2
    errors = capsys.readouterr().err
    assert message in errors
    assert errors.count("medstyle: error: ") == 1
    assert not out.exists()


def test_bids_derivatives_are_a_dataset(tmp_path: Path, model: Path, write_scan: WriteScan) -> None:
    write_scan("raw/sub-01/anat/sub-01_T1w.nii.gz")
    out = tmp_path / "out"
    command = ["translate", str(model), str(tmp_path / "raw"), "-o", str(out), "--bids", "T2w"]
    assert main(command) == 0
    assert (out / "sub-01/anat/sub-01_desc-synthetic_T2w.nii.gz").exists()
    assert (out / "sub-01/anat/sub-01_desc-synthetic_T2w.json").exists()
    description = json.loads((out / "dataset_description.json").read_text())
    assert description["DatasetType"] == "derivative"
    assert description["GeneratedBy"][0]["Name"] == "medstyle_gan"
    assert rows_of(out).keys() == {"sub-01/anat/sub-01_desc-synthetic_T2w.nii.gz"}
    assert main(command) == 0


def test_a_file_without_a_bids_name_is_told_before_and_fails_alone(
    tmp_path: Path, model: Path, write_scan: WriteScan, capsys: pytest.CaptureFixture[str]
) -> None:
    write_scan("raw/sub-01/anat/sub-01_T1w.nii.gz")
    bad, out = write_scan("raw/sub-01/anat/patient.nii.gz", seed=1), tmp_path / "out"
    command = ["translate", str(model), str(tmp_path / "raw"), "-o", str(out), "--bids", "T2w"]
    assert main(command) == 1
    errors = capsys.readouterr().err
    reason = f"{bad}: is not named as BIDS names it"
    assert errors.index("1 of 2 inputs will not be translated") < errors.index(
        "1 of 2 files failed"
    )
    assert errors.count(reason) == 2
    rows = rows_of(out)
    assert rows.keys() == {
        "sub-01/anat/sub-01_desc-synthetic_T2w.nii.gz",
        "sub-01/anat/patient.nii.gz",
    }
    failed = rows["sub-01/anat/patient.nii.gz"]
    assert (failed["status"], failed["warnings"]) == (
        "failed",
        "has no BIDS name, which --bids needs",
    )
    assert not (out / "sub-01/anat/patient.nii.gz").exists()
    assert main(command) == 1  # what is done is skipped


def test_giving_up_stops_files_at_work_and_leaves_nothing_half(
    tmp_path: Path, write_scan: WriteScan, monkeypatch: pytest.MonkeyPatch
) -> None:
    for index in range(6):
        write_scan(f"in/{index}.nii", seed=index, shape=(20, 18, 30))
    translator, out = identity_translator(), tmp_path / "out"
    begun = threading.Event()
    translate = Translator.translate

    def slowly(*args: object) -> object:
        begun.set()
        return translate(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(Translator, "translate", slowly)
    jobs = plan_translation(translator, [tmp_path / "in"], out)
    outcomes = run_translation(translator, jobs, out=out, workers=2)
    next(outcomes)
    outcomes.close()
    assert begun.is_set()
    done = sorted(path.name for path in out.glob("*.nii"))
    assert 1 <= len(done) <= 4
    assert sorted(rows_of(out)) == done
    assert not list(out.rglob("*.part"))
    rest = list(run_translation(translator, jobs, out=out, workers=2))
    assert sum(outcome.status == "skipped" for outcome in rest) == len(done)
    assert all(outcome.status in ("done", "skipped") for outcome in rest)
