"""The file of an uncertainty: how it is named beside its translation, and known again later."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from medstyle_gan.inference.outputs.hashing import hash_output
from medstyle_gan.inference.outputs.sidecar import read_sidecar
from medstyle_gan.volumes import stem_of

UNCERTAINTY_HASH = "uncertainty_sha256"
_ENDING = "_uncertainty"
_BIDS = re.compile(r"(.*_desc-[A-Za-z0-9]+?)(_[A-Za-z0-9]+)")
_BIDS_UNCERTAINTY = re.compile(r"(.*_desc-[A-Za-z0-9]+)Uncertainty(_[A-Za-z0-9]+)")


def uncertainty_path(output: Path, bids: bool = False) -> Path:
    """Where the uncertainty of a translation goes.

    `t2.nii.gz` has `t2_uncertainty.nii.gz`; as a BIDS derivative, whose last word must be the
    suffix of the contrast, `sub-01_desc-synthetic_T2w.nii.gz` has
    `sub-01_desc-syntheticUncertainty_T2w.nii.gz`.

    Args:
        output: the translation's file, or the folder of its series.
        bids: whether it is named as a BIDS derivative.
    """
    stem = stem_of(output)
    match = _BIDS.fullmatch(stem) if bids else None
    named = f"{match[1]}Uncertainty{match[2]}" if match else stem + _ENDING
    return output.with_name(named + output.name[len(stem) :])


def is_uncertainty(path: Path) -> bool:
    """Whether a file or folder is the uncertainty of a translation whose sidecar is beside it."""
    stem = stem_of(path)
    match = _BIDS_UNCERTAINTY.fullmatch(stem)
    owners = [match[1] + match[2]] if match else []
    if stem.endswith(_ENDING):
        owners.append(stem.removesuffix(_ENDING))
    return any(UNCERTAINTY_HASH in read_sidecar(path.with_name(f"{o}.json")) for o in owners)


def earlier_uncertainty(output: Path, facts: dict[str, Any]) -> Path | None:
    """The uncertainty that was written with a translation and is as it was then.

    Args:
        output: the translation's place.
        facts: of the sidecar that stands beside it.
    """
    for path in {uncertainty_path(output, bids) for bids in (False, True)}:
        if path.exists() and hash_output(path) == facts.get(UNCERTAINTY_HASH):
            return path
    return None
