"""Reads the ratings of a reader study back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from medstyle_gan.errors import UserError
from medstyle_gan.evaluation.visual_effect.reader_study.files import FORMAT, StudyFiles

Kind = Literal["real", "translated"]
KINDS: tuple[Kind, ...] = get_args(Kind)
QUALITIES = (1, 2, 3, 4, 5)


@dataclass(frozen=True)
class Rating:
    """What a reader said of one slice.

    Attributes:
        said: what it was taken for.
        quality: from 1 (unusable) to 5 (excellent).
    """

    said: Kind
    quality: int


@dataclass(frozen=True)
class ReaderStudy:
    """A study and what came back.

    Attributes:
        kinds: slice → what it is.
        ratings: of each reader, slice → rating; slices that a reader left out are not in it.
        model_hash: of the translator that the slices are of; empty where it was not told.
    """

    kinds: Mapping[str, Kind]
    ratings: tuple[Mapping[str, Rating], ...]
    model_hash: str = ""


def read_reader_study(folder: str | Path) -> ReaderStudy:
    """Reads a study's key and every file of ratings.

    Args:
        folder: as `write_reader_study` made it, with files from readers in `ratings/`.

    Returns:
        The readers in the order of their files' names; none where there are no files yet.

    Raises:
        UserError: a file is missing, damaged or of another study, or two are of one reader.
    """
    study = StudyFiles(Path(folder))
    if not study.key.is_file():
        raise UserError(
            f"{folder}: holds no key/key.json; give the folder that --reader-study wrote, with the "
            "readers' files in its ratings/"
        )
    key = _read(study.key)
    kinds = {}
    for name, what in _field(study.key, key, "images", dict).items():
        kind = what.get("kind") if isinstance(what, dict) else None
        if kind not in KINDS:
            raise UserError(f"{study.key}: images.{name}.kind is {kind!r}, not real or translated")
        kinds[name] = kind
    identity = _field(study.key, key, "study", str)
    readers: dict[str, Path] = {}
    ratings = []
    found = sorted(study.ratings.iterdir()) if study.ratings.is_dir() else []
    for path in found:
        if path.name.startswith("."):
            continue
        reader, mine = _read_ratings(path, identity, kinds)
        if reader in readers:
            raise UserError(
                f"{path}: is of the same reader as {readers[reader].name}; keep the later one"
            )
        readers[reader] = path
        ratings.append(mine)
    return ReaderStudy(kinds, tuple(ratings), _field(study.key, key, "model_hash", str))


def _read_ratings(
    path: Path, identity: str, kinds: Mapping[str, Kind]
) -> tuple[str, dict[str, Rating]]:
    content = _read(path)
    if (theirs := _field(path, content, "study", str)) != identity:
        raise UserError(
            f"{path}: rates another study ({theirs}, not {identity}); put it into the ratings/ of "
            "its own"
        )
    ratings: dict[str, Rating] = {}
    for place, entry in enumerate(_field(path, content, "ratings", list)):
        entry = entry if isinstance(entry, dict) else {}
        name = str(entry.get("image"))
        said, quality = entry.get("said"), entry.get("quality")
        if said is None or quality is None:
            continue  # begun and left open
        if name not in kinds or name in ratings:
            raise UserError(
                f"{path}: ratings[{place}].image {name!r} is "
                f"{'there twice' if name in ratings else 'no slice of this study'}; ask the "
                "reader to save the file again"
            )
        if said not in KINDS or isinstance(quality, bool) or quality not in QUALITIES:
            raise UserError(
                f"{path}: ratings[{place}] says {said!r} with quality {quality!r}; real or "
                "translated, and 1 to 5, are expected"
            )
        ratings[name] = Rating(said, int(quality))
    return _field(path, content, "reader", str), ratings


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path}: cannot be read as JSON ({error}); take it out, or put the file there again"
        ) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UserError(
            f"{path}: is no file of a reader study of this version (format {FORMAT}); take it out "
            "of the folder"
        )
    return content


def _field(path: Path, content: Mapping[str, Any], name: str, kind: type) -> Any:
    if not isinstance(content.get(name), kind):
        raise UserError(f"{path}: has no {name}; put the file there again")
    return content[name]
