"""The files of one domain, grouped by subject; a DICOM series counts as one, by its folder."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from medstyle_gan.data.lists import LIST_SUFFIXES, read_list
from medstyle_gan.data.same_files import same_files
from medstyle_gan.errors import UserError
from medstyle_gan.volumes import (
    PICTURE_SUFFIXES,
    VOLUME_SUFFIXES,
    find_series,
    is_picture,
    is_volume,
    stem_of,
    walk_names,
)


@dataclass(frozen=True)
class Item:
    """One file of a collection, or the folder of one DICOM series, and whose it is."""

    path: Path
    subject: str


@dataclass(frozen=True)
class Collection:
    """The volumes or pictures of one domain.

    Attributes:
        items: the files, in a fixed order.
        source: what the user gave, for messages.
    """

    items: tuple[Item, ...]
    source: str

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Item]:
        return iter(self.items)

    @property
    def subjects(self) -> tuple[str, ...]:
        """The distinct subjects, sorted."""
        return tuple(sorted({item.subject for item in self.items}))


def find_collection(spec: str | Sequence[str], subject_pattern: str) -> Collection:
    """Find the files of a collection and the subject of each.

    Args:
        spec: a folder (searched recursively, hidden files left out; DICOM with a folder for
            each series), a glob, a `.txt` list
            (a path a line), a `.csv` list (column `path`, `subject` if there is one), a
            `.json` datalist (a list, or `{"training": [...]}`, of paths or of
            `{"image": ..., "subject": ...}`), a single file, or several of these.
        subject_pattern: regular expression whose first group, found in the file's name or
            else in the nearest folder below the given one (itself included), names the
            subject. Without a match the subject is the file's name.

    Raises:
        UserError: nothing there, nothing of a known type, a list that cannot be used, several
            DICOM series in one folder, or volumes and pictures mixed.
    """
    try:
        pattern = re.compile(subject_pattern)
    except re.error as error:
        raise UserError(
            f"data.subject_pattern {subject_pattern!r} is no regular expression: {error}"
        ) from error
    specs = [spec] if isinstance(spec, str | Path) else list(spec)
    if not specs:
        raise UserError("a collection needs a folder, a glob or a list of files; got none")
    found: dict[str, Item] = {}
    for one in specs:
        for item in _expand(str(one), pattern):
            # A link to a file that is already there would only count it twice.
            found.setdefault(os.path.realpath(item.path), item)
    collection = Collection(tuple(found.values()), ", ".join(str(s) for s in specs))
    _refuse_mixture(collection)
    return collection


def _expand(spec: str, pattern: re.Pattern[str]) -> list[Item]:
    path = Path(spec).expanduser()
    if path.is_dir():
        files = sorted([*filter(_is_known, walk_names(path)), *_series_folders(path)])
        if not files:
            raise UserError(
                f"{spec}: no volume or picture in this folder; give one that holds "
                f"{', '.join((*VOLUME_SUFFIXES, *PICTURE_SUFFIXES))} or DICOM series"
            )
        return [Item(file, _subject(file, path, pattern)) for file in files]
    if path.is_file():
        if path.suffix.lower() in LIST_SUFFIXES:
            return _from_list(path, pattern)
        if not _is_known(path):
            raise UserError(
                f"{spec}: neither a volume ({', '.join(VOLUME_SUFFIXES)}), a picture "
                f"({', '.join(PICTURE_SUFFIXES)}) nor a list ({', '.join(LIST_SUFFIXES)})"
            )
        return [Item(path, _subject(path, path.parent, pattern))]
    if glob.has_magic(str(path)):
        # Not Path.glob: it takes no absolute pattern, and finds hidden files.
        matches = sorted(Path(m) for m in glob.glob(str(path), recursive=True))  # noqa: PTH207
        files = [match for match in matches if match.is_file() and _is_known(match)]
        if not files:
            other = f" ({len(matches)} files of other types)" if matches else ""
            raise UserError(f"{spec}: the glob matches no volume or picture{other}")
        root = _fixed_part(path)
        return [Item(file, _subject(file, root, pattern)) for file in files]
    raise UserError(f"{spec}: no such file or folder; check the path")


def _from_list(path: Path, pattern: re.Pattern[str]) -> list[Item]:
    entries = read_list(path)
    if not entries:
        raise UserError(f"{path}: the list is empty")
    missing = [str(entry.path) for entry in entries if not entry.path.is_file()]
    if missing:
        raise UserError(
            f"{path}: {len(missing)} of {len(entries)} listed files do not exist (paths are "
            f"relative to the list's folder):{_lines(missing)}"
        )
    unknown = [str(entry.path) for entry in entries if not _is_known(entry.path)]
    if unknown:
        raise UserError(f"{path}: listed files of an unknown type:{_lines(unknown)}")
    return [
        Item(entry.path, entry.subject or _subject(entry.path, path.parent, pattern))
        for entry in entries
    ]


def _series_folders(folder: Path) -> list[Path]:
    """The folders of DICOM series, each of which is one volume."""
    folders: dict[Path, int] = {}
    for series in find_series(folder):
        folders[series.folder] = folders.get(series.folder, 0) + 1
    for one, count in folders.items():
        inside = [other for other in folders if other != one and other.is_relative_to(one)]
        if count > 1 or inside:
            raise UserError(
                f"{one}: holds several DICOM series; give each a folder of its own, which then "
                "counts as one volume"
            )
    return list(folders)


def _is_known(path: Path) -> bool:
    return is_volume(path) or is_picture(path)


def _fixed_part(path: Path) -> Path:
    """The folders of a glob before its first wildcard."""
    fixed = path
    while glob.has_magic(str(fixed)):
        fixed = fixed.parent
    return fixed


def _subject(path: Path, root: Path, pattern: re.Pattern[str]) -> str:
    names = [path.name]
    for parent in path.parents:
        names.append(parent.name)
        if parent == root:
            break
    else:  # a list may point outside its own folder: then only the file's folder says more
        names = [path.name, path.parent.name]
    for name in names:
        subject = subject_in(name, pattern)
        if subject:
            return subject
    return stem_of(path)


def subject_in(name: str, pattern: re.Pattern[str]) -> str | None:
    """The subject that a file's or folder's name names; None where the pattern is not in it."""
    match = pattern.search(name)
    if match is None:
        return None
    groups = [group for group in match.groups() if group]
    return groups[0] if groups else match.group(0)


def _refuse_mixture(collection: Collection) -> None:
    pictures = [item.path for item in collection if is_picture(item.path)]
    if pictures and len(pictures) < len(collection):
        raise UserError(
            f"{collection.source}: {len(collection) - len(pictures)} volumes and "
            f"{len(pictures)} pictures (such as {pictures[0].name}) in one collection; give a "
            "glob that matches one kind, for instance 'FOLDER/**/*.nii.gz'"
        )


def check_distinct(scans: Collection, style: Collection) -> None:
    """Refuse collections that share files: there would be no style to learn.

    Files are the same when their real path or their content is.

    Raises:
        UserError: naming the files in both.
    """
    both = [str(p) for p in same_files([i.path for i in scans], [i.path for i in style])]
    if both:
        raise UserError(
            f"{len(both)} of {len(style)} files of the style collection ({style.source}) are "
            f"also scans ({scans.source}); give two different collections:{_lines(both)}"
        )


def _lines(names: Sequence[str], limit: int = 20) -> str:
    shown = "".join(f"\n  {name}" for name in names[:limit])
    return shown + (f"\n  ... and {len(names) - limit} more" if len(names) > limit else "")
