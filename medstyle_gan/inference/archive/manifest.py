"""The manifest of an archive: one row a file, of what was made of what, with which hashes.

`OUT/manifest.csv` is whole at all times. While a process is at work it appends its rows to a
journal of its own in `OUT/.medstyle/`, which it holds locked; they are merged into the manifest
when it ends, or, after a kill, by the next process that starts or ends.
"""

from __future__ import annotations

import csv
import errno
import fcntl
import io
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from io import FileIO
from pathlib import Path
from typing import BinaryIO

from medstyle_gan.errors import UserError
from medstyle_gan.inference.archive.sharding import Shard
from medstyle_gan.volumes import atomic_file, ensure_writable_folder
from medstyle_gan.volumes.atomic import remove_left_over

MANIFEST_FILE = "manifest.csv"
STATE_FOLDER = ".medstyle"
_LOCK = "lock"


@dataclass(frozen=True)
class Row:
    """What is known of one file; names are relative, text needs no quotes but CSV's own.

    Attributes:
        input: name below the folder that was given.
        output: name below OUT.
        status: `done`, `stale` or `failed`.
        seconds: time of the translation.
        input_sha256: of the input when it was translated.
        output_sha256: of the output as it was written.
        model: hash of the weights.
        settings: hash of all else that shapes a translation.
        warnings: what is noteworthy, and why a file failed or is stale.
    """

    input: str
    output: str
    status: str
    seconds: str = ""
    input_sha256: str = ""
    output_sha256: str = ""
    model: str = ""
    settings: str = ""
    warnings: str = ""


COLUMNS = tuple(field.name for field in fields(Row))


class Manifest:
    """The rows of an output folder, and this process's place in it; see `open_manifest`.

    Attributes:
        rows: output → its latest row, those of other processes as of the start.
        trouble: why rows could not be written, None where all were.
    """

    def __init__(self, out: Path, journal: FileIO, rows: dict[str, Row]) -> None:
        self.out = out
        self.rows = rows
        self.trouble: UserError | None = None
        self._journal = journal
        self._added: dict[str, Row] = {}
        self._lock = threading.Lock()

    def add(self, row: Row) -> None:
        """Note what became of a file; it is on the disk when this returns.

        Where the disk is full the row waits in memory for the end: the sidecar of a translation
        says as much, so that nothing is lost that a process would need to go on.
        """
        with self._lock:
            self.rows[row.output] = self._added[row.output] = row
            end = self._journal.tell()
            encoded = _encode([row])
            try:
                if self._journal.write(encoded) != len(encoded):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(self._journal.fileno())
            except OSError as error:
                self._journal.truncate(end)
                self._journal.seek(end)
                self.trouble = _no_space(Path(self._journal.name), error)

    def end(self) -> None:
        """Give up the place: all rows are in the manifest afterwards, or `trouble` says why not."""
        with _locked(self.out / STATE_FOLDER):
            self._journal.close()
            try:
                _merge(self.out, self._added)
            except UserError as error:
                self.trouble = error
            else:
                self.trouble = None
            _leave(self.out / STATE_FOLDER)


@contextmanager
def open_manifest(out: Path, shard: Shard) -> Iterator[Manifest]:
    """Take this process's place in an output folder.

    Args:
        out: the output folder, made where missing.
        shard: which part this process translates.

    Raises:
        UserError: another process writes the same files there, or the folder is not writable;
            on leaving, where the manifest could not be written.
    """
    state = out / STATE_FOLDER
    ensure_writable_folder(out)  # not `state`, which a process that ends may remove meanwhile
    with _locked(state):
        try:
            _refuse_rivals(out, shard)
            _merge(out, {})
            journal = _new_journal(state / f"shard-{shard.index}-of-{shard.count}.csv")
            manifest = Manifest(out, journal, read_rows(out))
        except BaseException:
            _leave(state)
            raise
    try:
        yield manifest
    finally:
        manifest.end()
    if manifest.trouble is not None:
        raise manifest.trouble


def _new_journal(path: Path) -> FileIO:
    try:
        journal = path.open("xb", buffering=0)
        fcntl.flock(journal, fcntl.LOCK_EX | fcntl.LOCK_NB)
        journal.write(_encode_line(COLUMNS))
    except OSError as error:
        raise _no_space(path, error) from error
    return journal


def _no_space(path: Path, error: OSError) -> UserError:
    return UserError(
        f"{path}: cannot be written ({error.strerror}); choose another output folder or disk, or "
        "free some space and start again: what is done is kept"
    )


def read_rows(out: Path) -> dict[str, Row]:
    """All rows of an output folder, those of processes at work included: output → row."""
    rows: dict[str, Row] = {}
    for path in [out / MANIFEST_FILE, *_journals(out)]:
        rows.update((row.output, row) for row in _read(path))
    return rows


def _refuse_rivals(out: Path, shard: Shard) -> None:
    for path in _journals(out):
        if not _is_live(path):
            continue
        other = path.stem.removeprefix("shard-").replace("-of-", "/")
        if other == str(shard):
            what = "the same files" if shard.count == 1 else f"the same part ({shard})"
        elif other.partition("/")[2] != str(shard.count):
            what = f"part {other}, which shares files with part {shard} of this one,"
        else:
            continue
        raise UserError(
            f"{out}: another medstyle translate is writing {what} there; wait until it has ended, "
            "give each process its own part of the same number (--shard i/n), or choose another "
            "folder with -o"
        )


def _merge(out: Path, own: Mapping[str, Row]) -> None:
    """Write all rows into the manifest and drop the journals of processes that are gone.

    Args:
        out: the output folder.
        own: rows that this process has, whether or not they are in its journal.
    """
    journals = _journals(out)
    if not journals:
        return
    dead = [path for path in journals if not _is_live(path)]
    rows = read_rows(out) | dict(own)
    if rows:
        ordered = sorted(rows.values(), key=lambda row: row.output)
        with atomic_file(out / MANIFEST_FILE) as file:
            file.write(_encode_line(COLUMNS) + _encode(ordered))
    for path in dead:
        path.unlink()
    if len(dead) == len(journals):  # nobody is at work: what is half-written was left by a kill
        remove_left_over(out)


def _leave(state: Path) -> None:
    """Remove the folder of journals once it holds nothing but the lock, which we have."""
    if all(path.name == _LOCK for path in state.iterdir()):
        (state / _LOCK).unlink()
        with suppress(OSError):
            state.rmdir()


@contextmanager
def _locked(state: Path) -> Iterator[None]:
    """One process at a time looks after the journals."""
    path = state / _LOCK
    while True:
        try:
            state.mkdir(exist_ok=True)
            file = path.open("ab")
        except FileNotFoundError:  # another process has just removed the folder
            continue
        except OSError as error:
            if isinstance(error, FileExistsError) and not (state.is_file() or state.is_symlink()):
                continue  # so it has, while `mkdir` looked what stands there
            raise UserError(f"{state}: cannot be written to ({error.strerror})") from error
        with file:
            _lock(file, path)
            # Whoever held it before may have removed it: then another file has the name now.
            if path.exists() and path.stat().st_ino == os.fstat(file.fileno()).st_ino:
                yield
                return


def _lock(file: BinaryIO, path: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
    except OSError as error:
        raise UserError(
            f"{path}: the disk knows no locks ({error.strerror}), which keep several processes "
            "apart; choose an output folder on another disk"
        ) from error


def _journals(out: Path) -> list[Path]:
    return sorted((out / STATE_FOLDER).glob("shard-*.csv"))


def _is_live(path: Path) -> bool:
    """Whether the process that writes a journal is there."""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def _read(path: Path) -> list[Row]:
    try:
        text = path.read_bytes().decode("utf-8", "surrogateescape")
    except FileNotFoundError:
        return []
    if path.name != MANIFEST_FILE:  # the last row of a journal may have been cut short by a kill
        text = text[: text.rfind("\r\n") + 2] if "\r\n" in text else ""
    table = list(csv.reader(io.StringIO(text, newline="")))
    if table and tuple(table[0]) != COLUMNS:
        raise UserError(
            f"{path}: is no manifest of translations (its first line should be "
            f"{','.join(COLUMNS)}); move it away or choose another output folder"
        )
    return [Row(*values) for values in table[1:] if len(values) == len(COLUMNS)]


def _encode(rows: Iterable[Row]) -> bytes:
    return b"".join(_encode_line(asdict(row).values()) for row in rows)


def _encode_line(values: Iterable[str]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerow(values)
    return text.getvalue().encode("utf-8", "surrogateescape")
