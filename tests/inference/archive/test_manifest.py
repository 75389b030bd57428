from __future__ import annotations

import csv
import errno
import multiprocessing
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from medstyle_gan.errors import UserError
from medstyle_gan.inference.archive.manifest import (
    COLUMNS,
    MANIFEST_FILE,
    STATE_FOLDER,
    Row,
    open_manifest,
    read_rows,
)
from medstyle_gan.inference.archive.sharding import Shard

ROW = Row("in/a.nii", "a.nii", "done", "1.500", "i" * 64, "o" * 64, "m", "s", "")
NAMES = ["a b.nii", 'quo"te.nii', "com,ma.nii", "ünïcødé 日本.nii", "new\nline.nii", "\udcff.nii"]


def rows_of(out: Path) -> list[dict[str, str]]:
    text = (out / MANIFEST_FILE).read_bytes().decode("utf-8", "surrogateescape")
    return list(csv.DictReader(text.splitlines(keepends=True)))


def test_rows_are_a_plain_csv_file_and_come_back(tmp_path: Path) -> None:
    rows = [replace(ROW, input=name, output=f"out/{name}") for name in NAMES]
    with open_manifest(tmp_path, Shard()) as manifest:
        for row in rows:
            manifest.add(row)
    assert sorted(row["input"] for row in rows_of(tmp_path)) == sorted(NAMES)
    assert list(rows_of(tmp_path)[0]) == list(COLUMNS)
    assert read_rows(tmp_path) == {row.output: row for row in rows}
    assert [path.name for path in tmp_path.iterdir()] == [MANIFEST_FILE]


def test_the_latest_row_of_an_output_counts(tmp_path: Path) -> None:
    for status in ("failed", "done"):
        with open_manifest(tmp_path, Shard()) as manifest:
            manifest.add(replace(ROW, status="stale"))
            manifest.add(replace(ROW, status=status))
    (row,) = rows_of(tmp_path)
    assert row["status"] == "done"


def test_shards_write_at_once_and_end_in_one_manifest(tmp_path: Path) -> None:
    with open_manifest(tmp_path, Shard(1, 2)) as one:
        one.add(replace(ROW, output="1.nii"))
        with open_manifest(tmp_path, Shard(2, 2)) as two:
            two.add(replace(ROW, output="2.nii"))
        one.add(replace(ROW, output="3.nii"))
    assert [row["output"] for row in rows_of(tmp_path)] == ["1.nii", "2.nii", "3.nii"]
    assert not (tmp_path / STATE_FOLDER).exists()


@pytest.mark.parametrize("other", [Shard(1, 1), Shard(1, 2), Shard(2, 3)])
def test_a_process_that_would_write_the_same_files_is_refused(tmp_path: Path, other: Shard) -> None:
    with open_manifest(tmp_path, Shard(1, 2)) as manifest:
        manifest.add(ROW)
        with (
            pytest.raises(UserError, match="another medstyle translate is writing"),
            open_manifest(tmp_path, other),
        ):
            pass
        manifest.add(replace(ROW, output="b.nii"))
    assert len(rows_of(tmp_path)) == 2


@pytest.mark.parametrize("text", [b"patient,age\r\n1,40\r\n", b"patient,age\n1,40\n", b"my list"])
def test_a_foreign_manifest_is_not_replaced(tmp_path: Path, text: bytes) -> None:
    (tmp_path / MANIFEST_FILE).write_bytes(text)
    with pytest.raises(UserError, match="is no manifest"), open_manifest(tmp_path, Shard()):
        pass
    assert (tmp_path / MANIFEST_FILE).read_bytes() == text


def test_a_manifest_that_a_spreadsheet_saved_with_its_own_line_ends_keeps_its_rows(
    tmp_path: Path,
) -> None:
    with open_manifest(tmp_path, Shard()) as manifest:
        manifest.add(ROW)
    saved = (tmp_path / MANIFEST_FILE).read_bytes().replace(b"\r\n", b"\n").rstrip(b"\n")
    (tmp_path / MANIFEST_FILE).write_bytes(saved)
    with open_manifest(tmp_path, Shard()) as manifest:
        assert manifest.rows == {ROW.output: ROW}
        manifest.add(replace(ROW, output="b.nii"))
    assert [row["output"] for row in rows_of(tmp_path)] == [ROW.output, "b.nii"]


def write_until_killed(out: Path, ready: Any) -> None:
    with open_manifest(out, Shard()) as manifest:
        manifest.add(ROW)
        (out / ".medstyle-0123456789abcdef.part").mkdir()
        (out / ".medstyle-0123456789abcdef.part" / "a.nii").write_bytes(b"half")
        ready.set()
        signal.pause()


def test_a_killed_process_leaves_rows_that_the_next_one_finds(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    process = context.Process(target=write_until_killed, args=(tmp_path, ready))
    process.start()
    assert ready.wait(30)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    (journal,) = (tmp_path / STATE_FOLDER).glob("*.csv")
    with journal.open("ab") as file:
        file.write(b"b.nii,b.nii,done,1.0")  # as a kill in the middle of a row leaves it
    with open_manifest(tmp_path, Shard()) as manifest:
        assert manifest.rows == {"a.nii": ROW}
    assert [row["output"] for row in rows_of(tmp_path)] == ["a.nii"]
    assert [path.name for path in tmp_path.iterdir()] == [MANIFEST_FILE]


@pytest.mark.parametrize("moment", ["mkdir", "touch"])
def test_a_process_that_ends_meanwhile_does_not_fail_one_that_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    real, state, ended = getattr(Path, moment), tmp_path / STATE_FOLDER, []

    def slow(path: Path, *args: Any, **options: Any) -> None:
        if not ended and state in (path, path.parent):
            ended.append(path)
            shutil.rmtree(state, ignore_errors=True)  # as the last process does when it leaves
            if moment == "mkdir":  # which saw the folder, and then looked what it is
                raise FileExistsError(errno.EEXIST, "File exists")
        real(path, *args, **options)

    monkeypatch.setattr(Path, moment, slow)
    with open_manifest(tmp_path, Shard()) as manifest:
        manifest.add(ROW)
    assert read_rows(tmp_path) == {ROW.output: ROW}


def test_a_file_in_the_place_of_the_journals_is_named(tmp_path: Path) -> None:
    (tmp_path / STATE_FOLDER).touch()
    with (
        pytest.raises(UserError, match=rf"{STATE_FOLDER}: cannot be written to"),
        open_manifest(tmp_path, Shard()),
    ):
        pass
