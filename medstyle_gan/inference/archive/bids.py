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
from medstyle_gan.inference.archive.naming import Clashing, Names
from medstyle_gan.volumes import atomic_file

DESCRIPTION = "synthetic"
_BIDS_VERSION = "1.10.0"
_DATASET_FILE = "dataset_description.json"
_NAME = re.compile(
    r"sub-(?P<sub>[A-Za-z0-9]+)(?P<entities>(?:_[A-Za-z]+-[A-Za-z0-9]+)*)"
    r"_(?P<suffix>[A-Za-z0-9]+)(?P<ending>(?:\.[A-Za-z0-9]+)+)"
)
_DATA_TYPES = ("anat", "ct", "dwi", "fmap", "func", "micr", "perf", "pet")


def name_derivatives(found: Sequence[Found], suffix: str, clashing: Clashing) -> Names:
    """Name the outputs of a BIDS dataset.

    Of two scans of one subject that differ in their suffix alone, as `sub-01_T1w` and
    `sub-01_FLAIR`, each has it in its label: `sub-01_desc-FLAIRSynthetic_T2w`.

    Args:
        found: the inputs.
        suffix: of the contrast translated into, such as `T2w`.
        clashing: tells the groups of inputs that cannot have given names.

    Raises:
        UserError: as `derivative_name` does.
    """
    outputs = [derivative_name(one.path, suffix) for one in found]
    clashes = clashing(outputs)
    for index in {index for group in clashes for index in group}:
        outputs[index] = derivative_name(found[index].path, suffix, with_source=True)
    inputs = [one.relative for one in found]
    return Names(inputs, outputs, clashing(outputs) if clashes else [])


def derivative_name(file: Path, suffix: str, with_source: bool = False) -> Path:
    """Where in a derivative dataset the translation of a BIDS file goes.

    Args:
        file: its name, and that of its folder, say what it is.
        suffix: of the contrast translated into, such as `T2w`.
        with_source: have the suffix of the contrast translated from in the label.

    Raises:
        UserError: the file's name or the suffix is not BIDS.
    """
    if not re.fullmatch(r"[A-Za-z0-9]+", suffix):
        raise UserError(
            f"--bids {suffix}: a BIDS suffix has letters and digits only, such as --bids T2w"
        )
    match = _NAME.fullmatch(file.name)
    if match is None:
        raise UserError(
            f"{file}: is not named as BIDS names it (sub-LABEL[_KEY-LABEL...]_SUFFIX.nii.gz); "
            "rename it, or leave --bids out"
        )
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
