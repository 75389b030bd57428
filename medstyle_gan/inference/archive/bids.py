"""Names of translations by the rules of BIDS derivatives (Gorgolewski et al. 2016).

`sub-01/anat/sub-01_run-2_T1w.nii.gz` becomes `sub-01/anat/sub-01_run-2_desc-synthetic_T2w.nii.gz`:
the entities of the source, a `desc` that keeps the name apart from every raw one, and the suffix
of the contrast translated into. The sidecar is the JSON that BIDS expects beside it; it has no
`Sources`, because it names no file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import medstyle_gan
from medstyle_gan.errors import UserError
from medstyle_gan.inference.archive.finding import Found
from medstyle_gan.inference.archive.naming import Clashing, Names, Pseudonyms, name_outputs
from medstyle_gan.volumes import atomic_file

DESCRIPTION = "synthetic"
_BIDS_VERSION = "1.10.0"
_DATASET_FILE = "dataset_description.json"
_NAME = re.compile(
    r"sub-(?P<sub>[A-Za-z0-9]+)(?P<entities>(?:_[A-Za-z]+-[A-Za-z0-9]+)*)"
    r"_(?P<suffix>[A-Za-z0-9]+)(?P<ending>(?:\.[A-Za-z0-9]+)+)"
)
_DATA_TYPES = ("anat", "ct", "dwi", "fmap", "func", "micr", "perf", "pet")


def name_derivatives(
    found: Sequence[Found], suffix: str, pseudonyms: Pseudonyms | None, clashing: Clashing
) -> Names:
    """Name the outputs of a BIDS dataset.

    Of two scans of one subject that differ in their suffix alone, as `sub-01_T1w` and
    `sub-01_FLAIR`, each has it in its label: `sub-01_desc-FLAIRSynthetic_T2w`. An input without a
    BIDS name cannot be translated, but is still called something: as without BIDS.

    Args:
        found: the inputs.
        suffix: of the contrast translated into, such as `T2w`.
        pseudonyms: of inputs whose own names are to be hidden.
        clashing: tells the groups of inputs that cannot have given names.

    Raises:
        UserError: the suffix, or no input's name at all, is BIDS.
    """
    faults = {index: fault for index, one in enumerate(found) if (fault := _fault_of_name(one))}
    _refuse_suffix(suffix)
    if len(faults) == len(found):
        more = f" (nor is one of the other {len(found) - 1} inputs)" if len(found) > 1 else ""
        raise UserError(f"{faults[0]}{more}")
    plain = name_outputs(found, pseudonyms, clashing)

    def called(index: int, with_source: bool = False) -> Path:
        if index in faults:
            return plain.outputs[index]
        return derivative_name(found[index].path, suffix, with_source)

    def clashing_derivatives(names: Sequence[Path]) -> list[list[int]]:
        groups = ([i for i in group if i not in faults] for group in clashing(names))
        return [group for group in groups if len(group) > 1]

    outputs = [called(index) for index in range(len(found))]
    clashes = clashing_derivatives(outputs)
    for index in {index for group in clashes for index in group}:
        outputs[index] = called(index, with_source=True)
    inputs = [plain.inputs[i] if i in faults else one.relative for i, one in enumerate(found)]
    return Names(inputs, outputs, clashing_derivatives(outputs) if clashes else [], faults)


def _fault_of_name(found: Found) -> str:
    """Why an input cannot have a name by the rules of BIDS; empty where it can."""
    if found.series is not None:
        return (
            f"{found.path}: is a DICOM series, which BIDS has no names for; convert it to NIfTI, "
            "or leave --bids out"
        )
    if _NAME.fullmatch(found.path.name) is None:
        return (
            f"{found.path}: is not named as BIDS names it (sub-LABEL[_KEY-LABEL...]_SUFFIX.nii.gz)"
            "; rename it, or leave --bids out"
        )
    return ""


def _refuse_suffix(suffix: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9]+", suffix):
        raise UserError(
            f"--bids {suffix}: a BIDS suffix has letters and digits only, such as --bids T2w"
        )


def derivative_name(file: Path, suffix: str, with_source: bool = False) -> Path:
    """Where in a derivative dataset the translation of a BIDS file goes.

    Args:
        file: its name, which is BIDS, and that of its folder say what it is.
        suffix: of the contrast translated into, such as `T2w`.
        with_source: have the suffix of the contrast translated from in the label.
    """
    match = _NAME.fullmatch(file.name)
    assert match is not None, file
    entities = [part.split("-", 1) for part in match["entities"].split("_") if part]
    known = dict(entities)
    description = known.pop("desc", None)
    # Of two derivatives of one scan, two translations that can be told apart.
    before = (description or "") + (match["suffix"] if with_source else "")
    label = before + DESCRIPTION.capitalize() if before else DESCRIPTION
    stem = "_".join(
        [f"sub-{match['sub']}", *(f"{k}-{v}" for k, v in known.items()), f"desc-{label}", suffix]
    )
    data_type = file.parent.name if file.parent.name in _DATA_TYPES else "anat"
    session = [f"ses-{known['ses']}"] if "ses" in known else []
    return Path(f"sub-{match['sub']}", *session, data_type, stem + match["ending"])


def write_dataset_description(out: Path) -> None:
    """Say what an output folder is, as every BIDS dataset must; one that is there is kept."""
    path = out / _DATASET_FILE
    if path.exists():
        return
    facts: dict[str, Any] = {
        "Name": "Synthetic images by medstyle_gan",
        "BIDSVersion": _BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "medstyle_gan", "Version": medstyle_gan.__version__}],
    }
    with atomic_file(path) as file:
        file.write((json.dumps(facts, indent=2) + "\n").encode())
