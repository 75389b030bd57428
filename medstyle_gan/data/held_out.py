"""Keeping the pairs that a training is scored on out of that training."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from medstyle_gan.config.data_section import DataConfig
from medstyle_gan.data.collection import Collection, subject_in
from medstyle_gan.data.same_files import same_files
from medstyle_gan.errors import UserError


def refuse_scored_pairs(paths: Sequence[Path], config: DataConfig) -> None:
    """Check that no file that is trained on lies in the folder of pairs under another name.

    Subjects of the same names are gone already, see `without_pairs`. Declared pairs are truth to
    learn from, so that a copy would make the scores worthless.

    Args:
        paths: what is trained on.
        config: its `pairs.folder` is looked into.

    Raises:
        UserError: naming both files.
    """
    if not config.pairs.folder:
        return
    folder = Path(config.pairs.folder).expanduser()
    scored = [path for pair in folder.iterdir() if pair.is_dir() for path in pair.iterdir()]
    twice = same_files(paths, scored)
    if twice:
        raise UserError(
            f"{twice[0]}: this pair is for scoring (data.pairs.folder), and the same file is among "
            "the pairs that are trained on (data.pairing=subject); take its subject out of one"
        )


def without_pairs(collection: Collection, config: DataConfig) -> Collection:
    """The collection without the pairs' files and without the pairs' subjects.

    A pair's subject is what `subject_pattern` finds in its subfolder's name, else the name.

    Raises:
        UserError: nothing would be left.
    """
    if not config.pairs.folder:
        return collection
    folder = Path(config.pairs.folder).expanduser()
    if not folder.is_dir():
        raise UserError(f"data.pairs.folder {folder}: no such folder; check the path")
    pattern = re.compile(config.subject_pattern)
    scored = set()
    for pair in folder.iterdir():
        scored.add(subject_in(pair.name, pattern) or pair.name)
    inside = os.path.realpath(folder) + os.sep
    kept = tuple(
        item
        for item in collection
        if item.subject not in scored and not os.path.realpath(item.path).startswith(inside)
    )
    if not kept:
        raise UserError(
            f"{collection.source}: every file belongs to a subject of the pairs in {folder}, "
            "which must not be trained on; give other subjects for training or for scoring"
        )
    return Collection(kept, collection.source)
