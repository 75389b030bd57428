"""Whole volumes for the report's viewer: NiiVue, from ipyniivue or from a file of the user's."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import nibabel as nib
import numpy as np

from medstyle_gan.errors import UserError
from medstyle_gan.evaluation.chapter import TRANSLATION, Array, Candidate, Subject

MEBIBYTE = 2**20
# How the script is had: its code is not ours to ship.
_HINT = (
    "give dist/niivue.umd.js of the npm package @niivue/niivue (npm pack @niivue/niivue, then "
    "unpack it)"
)
_WIDGET = "ipyniivue/static/widget.js"
# ipyniivue's module gives away its widget alone; the viewer's class is what that makes one of.
_CLASS = re.compile(r'"Creating new Niivue instance"\).{0,200}?=\s*new ([\w$]+)\(', re.DOTALL)
_EXPORT = re.compile(r"export\s*\{\s*[\w$]+ as default\s*\};?\s*$")


@dataclass(frozen=True)
class SubjectVolumes:
    """A subject's volumes.

    Attributes:
        name: the subject's.
        files: `scan`, `translation` and, where there is one, `truth` → a gzipped NIfTI of one
            byte a voxel, [-1, 1] being 0 to 255. Its header holds voxel sizes and nothing else.
    """

    name: str
    files: Mapping[str, bytes]


def read_viewer(path: str | Path | None = None) -> str:
    """The viewer's script, an ES module that sets `globalThis.niivue`, which has `Niivue`.

    Args:
        path: NiiVue's `niivue.umd.js`; None takes the script of the installed ipyniivue.

    Raises:
        UserError: It cannot be read, or is something else, or ipyniivue is not there.
    """
    return _of_ipyniivue() if path is None else _of_file(path)


def _of_ipyniivue() -> str:
    try:
        package = distribution("ipyniivue")
    except PackageNotFoundError:
        raise UserError(
            "--viewer: NiiVue is not there; install the extra viewer (pip install "
            f"'medstyle-gan[viewer]'), or --niivue FILE: {_HINT}"
        ) from None
    text = Path(str(package.locate_file(_WIDGET))).read_text("utf-8")
    made = _CLASS.search(text)
    if made is None or not _EXPORT.search(text):
        raise UserError(
            f"--viewer: ipyniivue {package.version} is not a version that is known here; "
            "reinstall medstyle-gan[viewer], or --niivue FILE: " + _HINT
        )
    return _EXPORT.sub(lambda _: f"globalThis.niivue={{Niivue:{made.group(1)}}};", text)


def _of_file(path: str | Path) -> str:
    try:
        text = Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise UserError(f"--niivue {path}: cannot be read ({reason}); {_HINT}") from None
    if "niivue={}" not in text[:500].replace(" ", ""):
        raise UserError(f"--niivue {path}: is not NiiVue's UMD script; {_HINT}")
    return text


def volumes_within(
    subjects: Iterable[Subject], candidates: Mapping[str, Candidate], limit: int
) -> tuple[SubjectVolumes, ...]:
    """The volumes of as many subjects, from the first on, as fit.

    Args:
        subjects: whose.
        candidates: the translation is taken.
        limit: of all files together (bytes).
    """
    found: list[SubjectVolumes] = []
    room = limit
    for subject in subjects:
        arrays = {
            "scan": subject.scan,
            TRANSLATION: candidates[TRANSLATION](subject.scan, subject.mask),
        }
        if subject.truth is not None:
            arrays["truth"] = subject.truth
        files = {name: _nifti(array, subject.spacing) for name, array in arrays.items()}
        room -= sum(map(len, files.values()))
        if room < 0:
            break
        found.append(SubjectVolumes(subject.name, files))
    return tuple(found)


def _nifti(array: Array, spacing: tuple[float, float, float]) -> bytes:
    levels = np.rint((np.clip(array, -1, 1) + 1) * 127.5).astype(np.uint8)
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = -affine[:3, :3] @ (np.array(array.shape) - 1) / 2
    image = nib.Nifti1Image(levels, affine)
    image.header["cal_max"] = 255
    return gzip.compress(image.to_bytes(), mtime=0)
