"""Reads what an offline Weights & Biases run holds, for tests: wandb 0.31 has no reader.

A `.wandb` file is a LevelDB log: a header of 7 bytes, then blocks of 32 KiB, in which
records stand whole or in pieces. Format:
https://github.com/google/leveldb/blob/main/doc/log_format.md, with zlib's CRC-32 over
type and data in place of the masked CRC-32C.
"""

from __future__ import annotations

import json
import re
import struct
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wandb.proto.wandb_internal_pb2 import Record

BLOCK = 32 * 1024
HEADER = struct.Struct("<4sHB")  # identity, magic, version
PIECE = struct.Struct("<IHB")  # checksum, length, type
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


def find_records(run_folder: Path) -> list[Path]:
    """The `.wandb` files of a run's folder, oldest first."""
    return sorted((run_folder / "wandb").glob("offline-run-*/run-*.wandb"))


def read_records(path: Path) -> Iterator[Record]:
    """Every record of a `.wandb` file, up to one that is only partly written."""
    data = path.read_bytes()
    identity, magic, version = HEADER.unpack_from(data)
    assert (identity, magic, version) == (b":W&B", 0xBEE1, 0), f"{path}: not a .wandb file"
    offset = HEADER.size
    pieces: bytes | None = None  # of a record that has begun; where 7 bytes are left, with none
    while offset + PIECE.size <= len(data):
        left_in_block = BLOCK - offset % BLOCK
        if left_in_block < PIECE.size:
            offset += left_in_block  # the rest of a block too short for a piece is padding
            continue
        checksum, length, kind = PIECE.unpack_from(data, offset)
        if kind == 0 and length == 0:
            offset += left_in_block
            continue
        body = data[offset + PIECE.size : offset + PIECE.size + length]
        if len(body) < length:
            return
        assert zlib.crc32(bytes([kind]) + body) == checksum, f"{path}: damaged at byte {offset}"
        begins = kind in (FULL, FIRST)
        assert begins == (pieces is None), f"{path}: pieces out of order at {offset}"
        pieces = (pieces or b"") + body
        offset += PIECE.size + length
        if kind in (FULL, LAST):
            record = Record()
            record.ParseFromString(pieces)
            pieces = None
            yield record


def read_finished(path: Path, patience: float = 20.0) -> list[Record]:
    """All records of a run; wandb's own process writes the last ones after `finish` returned."""
    deadline = time.monotonic() + patience
    while True:
        records = list(read_records(path)) if path.stat().st_size else []
        if records and records[-1].WhichOneof("record_type") == "exit":
            return records
        assert time.monotonic() < deadline, f"{path}: the run was not finished"
        time.sleep(0.02)


class OfflineRun:
    """One finished offline run: its config, scalars and pictures.

    Attributes:
        config: As it was logged, without wandb's own `_wandb`.
        history: Every logged row by name, without wandb's own `_step` and so on.
        metrics: Name (or pattern) → the name of its axis.
        id, name, project, host: As the run's record has them.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.records = read_finished(path)
        self.config: dict[str, Any] = {}
        self.history: list[dict[str, Any]] = []
        self.metrics: dict[str, str] = {}
        self.id = self.name = self.project = self.host = ""
        for record in self.records:
            kind = record.WhichOneof("record_type")
            if kind == "run":
                run = record.run
                self.id, self.name = run.run_id, run.display_name
                self.project, self.host = run.project, run.host
                self.config |= {item.key: json.loads(item.value_json) for item in run.config.update}
            elif kind == "history":
                row: dict[str, Any] = {}
                for item in record.history.item:
                    *outer, name = item.nested_key or [item.key]
                    place = row
                    for key in outer:
                        place = place.setdefault(key, {})
                    place[name] = json.loads(item.value_json)
                self.history.append({k: v for k, v in row.items() if not k.startswith("_")})
            elif kind == "metric":
                metric = record.metric
                self.metrics[metric.name or metric.glob_name] = metric.step_metric
        self.config.pop("_wandb", None)

    def scalars(self, name: str) -> dict[int, float]:
        """Our step → value."""
        return {row["step"]: row[name] for row in self.history if name in row}

    def panels(self, name: str = "samples") -> dict[int, list[Path]]:
        """Our step → picture files, each of which exists."""
        found = {}
        for row in self.history:
            if name in row:
                files = [self.path.parent / "files" / file for file in row[name]["filenames"]]
                assert all(file.is_file() for file in files)
                found[row["step"]] = files
        return found


def contains_word(data: bytes, word: str, noise: bool = False) -> bool:
    """Whether a word occurs in bytes, in whatever case.

    A short word (a host may be called `vm`) counts only where it stands alone, and not at all
    in noise, as a picture's bytes and checksums are: chance would find it there.
    """
    pattern = re.escape(word.encode())
    if len(word) < 8:
        pattern = rb"(?<![A-Za-z0-9_])" + pattern + rb"(?![A-Za-z0-9_])"
        if noise:
            return False
    return re.search(pattern, data, re.IGNORECASE) is not None


def find_words(folder: Path, words: list[str]) -> list[str]:
    """Where any of the words stands below a folder: in names, link targets or contents."""
    found = []
    for path in sorted(folder.rglob("*")):
        places = {"name": path.relative_to(folder).as_posix().encode()}
        if path.is_symlink():
            places["link"] = str(path.readlink()).encode()
        elif path.is_file():
            places["contents"] = path.read_bytes()
        for place, data in places.items():
            noise = place == "contents" and path.suffix in (".png", ".wandb")
            text = b""
            if noise and path.suffix == ".wandb":
                text = "\n".join(map(str, read_records(path))).encode()
            found += [
                f"{path}: {word!r} in its {place}"
                for word in words
                if contains_word(data, word, noise) or contains_word(text, word)
            ]
    return found
