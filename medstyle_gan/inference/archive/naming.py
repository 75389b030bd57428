"""What the translations of an archive are called.

No two share a name, and none tells of a patient where it should not.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medstyle_gan.inference.archive.finding import Found
from medstyle_gan.volumes import UidMap, stem_of

NO_SECRET = UidMap(b"medstyle_gan")
_DIGITS = 12
_LOOKED_AT = 2**20


@dataclass(frozen=True)
class Pseudonyms:
    """Names that are always the same for the same input, and tell nothing of its own name.

    They are hashes of what nobody can guess: of a series its Study Instance UID, of another file
    the beginning of its bytes, never of a name. Who has the input can tell which is its
    translation; with a key file, only who has the key too.

    Attributes:
        uids: the key of the hashes; one that is no secret by default.
        files: whether other files than DICOM get them too.
    """

    uids: UidMap = NO_SECRET
    files: bool = False

    def hides(self, found: Found) -> bool:
        """Whether an input's own name is to be hidden."""
        return found.series is not None or self.files

    def of(self, found: Found) -> str:
        """The study's name of a series, or a file's name."""
        study = "" if found.series is None else _study(found)
        what, text = ("study", study) if study else ("scan", _beginning(found))
        new = self.uids(text, "name of an output")
        return f"{what}-{hashlib.sha256(new.encode()).hexdigest()[:_DIGITS]}"


Clashing = Callable[[Sequence[Path]], list[list[int]]]


@dataclass(frozen=True)
class Names:
    """What inputs and outputs are called, one of each an input.

    Attributes:
        inputs: in the manifest.
        outputs: below OUT, with the endings of the inputs' formats.
        clashes: groups of inputs, by their indices, whose outputs still share a name.
        faults: input, by its index → why it can have no name of the kind that is asked for.
    """

    inputs: list[Path]
    outputs: list[Path]
    clashes: list[list[int]]
    faults: Mapping[int, str] = field(default_factory=dict)


def name_outputs(
    found: Sequence[Found], pseudonyms: Pseudonyms | None, clashing: Clashing
) -> Names:
    """Name the outputs of an archive.

    A file has its path below the folder that was given, a series its folder's path and its
    number, which tells nothing of a patient. Where inputs from different folders would share a
    name, all have their paths below the folder above them all, as if that had been given; where
    files of one folder would, as `a.nii` and `a.nii.gz` with their sidecars do, each of these has
    its ending in its name: `a_nii.nii`, `a_nii_gz.nii.gz`.

    Args:
        found: the inputs.
        pseudonyms: of those that it hides: a series is `study-…/series-0003`, or `series-0003`
            where its own folder was given. None keeps all names.
        clashing: tells the groups of inputs that cannot have given names.
    """
    names = _names(found, pseudonyms, [one.relative for one in found], bare=True)
    clashes = clashing(names)
    if any(len({found[i].root.resolve() for i in group}) > 1 for group in clashes):
        names = _names(found, pseudonyms, _below_all(found), bare=False)
        clashes = clashing(names)
    outputs = list(names)
    for index in {i for group in clashes for i in group if found[i].series is None}:
        outputs[index] = _with_its_ending(names[index])
    return Names(names, outputs, clashing(outputs) if clashes else [])


def _names(
    found: Sequence[Found], pseudonyms: Pseudonyms | None, paths: Sequence[Path], bare: bool
) -> list[Path]:
    """One name each; `bare` where the paths are below different folders that were given."""
    names: list[Path] = []
    taken: set[tuple[Path, Path]] = set()
    for one, path in zip(found, paths, strict=True):
        told = one.series is not None and bare and path == Path()  # says nothing of a folder
        new = None
        if pseudonyms is not None and pseudonyms.hides(one) and not told:
            new = Path(pseudonyms.of(one))
        # Names below different folders are no reason for a number: they are told apart later.
        owner = one.root if bare and new is None else Path()
        if one.series is not None:
            # Numbers need not differ, for instance between two studies or two copies.
            name = f"series-{one.series.number or 0:04d}"
            names.append(_free((new or path) / name, owner, taken))
        elif new is not None:
            free = _free(new, owner, taken)
            names.append(free.with_name(free.name + _ending(path)))
        else:
            names.append(path)
    return names


def _free(name: Path, owner: Path, taken: set[tuple[Path, Path]]) -> Path:
    """The name, numbered where another input below the same folder has it."""
    free, count = name, 1
    while (owner, free) in taken:
        count += 1
        free = name.with_name(f"{name.name}-{count}")
    taken.add((owner, free))
    return free


def _with_its_ending(name: Path) -> Path:
    ending = _ending(name)
    return name.with_name(f"{stem_of(name)}{ending.replace('.', '_')}{ending}")


def _ending(path: Path) -> str:
    return path.name[len(stem_of(path)) :]


def _below_all(found: Sequence[Found]) -> list[Path]:
    """Paths below the folder above all that were given."""
    roots = [one.root.resolve() for one in found]
    above = os.path.commonpath(roots)
    paths = [root / one.relative for one, root in zip(found, roots, strict=True)]
    return [path.relative_to(above) for path in paths]


def _study(found: Found) -> str:
    assert found.series is not None
    header: Any = next(iter(found.series.headers), {})
    return str(header.get("StudyInstanceUID") or found.series.uid)


def _beginning(found: Found) -> str:
    """A hash of the first bytes, which for voxels nobody can guess."""
    path = found.series.files[0] if found.series else found.path
    try:
        with path.open("rb") as file:
            return hashlib.sha256(file.read(_LOOKED_AT)).hexdigest()
    except OSError:  # it fails later, with its reason
        return ""
