"""Lists of files that a user wrote: text, CSV and JSON datalists."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medstyle_gan.errors import UserError

LIST_SUFFIXES = (".txt", ".csv", ".json")


@dataclass(frozen=True)
class Entry:
    """One line of a list: a file and, where the list says so, its subject."""

    path: Path
    subject: str | None = None


def read_list(path: Path) -> list[Entry]:
    """Read a list; relative paths are relative to its folder.

    Args:
        path: `.txt` (a path a line, `#` starts a comment line), `.csv` with a header naming
            `path` and perhaps `subject`, or a `.json` datalist as MONAI's: a list, or a
            dict with the key `training`, of paths or of `{"image": ..., "subject": ...}`.

    Raises:
        UserError: the list cannot be read or understood.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as UTF-8 text: {error}") from error
    read = {".txt": _text, ".csv": _csv, ".json": _json}[path.suffix.lower()]
    return [
        Entry(path.parent / Path(name).expanduser(), subject) for name, subject in read(text, path)
    ]


def _text(text: str, path: Path) -> list[tuple[str, str | None]]:
    lines = (line.strip() for line in text.splitlines())
    return [(line, None) for line in lines if line and not line.startswith("#")]


def _csv(text: str, path: Path) -> list[tuple[str, str | None]]:
    header = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=header.count)
    reader = csv.DictReader(text.splitlines(), delimiter=delimiter, skipinitialspace=True)
    columns = {(name or "").strip().lower(): name for name in reader.fieldnames or ()}
    if "path" not in columns:
        raise UserError(
            f"{path}: the header has no column 'path', only "
            f"{', '.join(reader.fieldnames or ()) or 'nothing'}"
        )
    rows = []
    for number, row in enumerate(reader, start=2):
        name = (row[columns["path"]] or "").strip()
        if not name:
            raise UserError(f"{path}: row {number} has no path")
        subject = (row[columns["subject"]] or "").strip() if "subject" in columns else ""
        rows.append((name, subject or None))
    return rows


def _json(text: str, path: Path) -> list[tuple[str, str | None]]:
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{path}: not valid JSON: {error}") from error
    if isinstance(data, dict):
        if "training" not in data:
            raise UserError(
                f"{path}: a datalist needs the key 'training'; it has {', '.join(data) or 'none'}"
            )
        data = data["training"]
    if not isinstance(data, list):
        raise UserError(f"{path}: a datalist is a list of files, not {type(data).__name__}")
    return [_json_entry(entry, number, path) for number, entry in enumerate(data)]


def _json_entry(entry: Any, number: int, path: Path) -> tuple[str, str | None]:
    if isinstance(entry, str):
        return entry, None
    if isinstance(entry, dict) and isinstance(entry.get("image"), str):
        subject = entry.get("subject")
        return entry["image"], None if subject in (None, "") else str(subject)
    raise UserError(
        f"{path}: entry {number} must be a path or {{'image': path, 'subject': name}}, not "
        f"{json.dumps(entry)[:80]}"
    )
