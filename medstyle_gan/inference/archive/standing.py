"""What stands where a translation is to go, and whether it is the one that is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from medstyle_gan.errors import UserError
from medstyle_gan.inference.archive.manifest import Row
from medstyle_gan.inference.outputs.hashing import hash_output
from medstyle_gan.inference.outputs.job import Job
from medstyle_gan.inference.outputs.record import Record
from medstyle_gan.inference.outputs.sidecar import read_sidecar
from medstyle_gan.inference.outputs.uncertainty_files import UNCERTAINTY_HASH
from medstyle_gan.volumes import PICTURE_SUFFIXES, VOLUME_SUFFIXES

_MISSING = "its uncertainty is missing"


@dataclass(frozen=True)
class Standing:
    """What is known of an output that exists.

    Attributes:
        verdict: `verified` is the asked translation, to the last byte; `stale` is another.
        reason: why it is stale.
        record: what it was made of, as far as is known.
        output: its sha256 as it was written, empty where unknown.
    """

    verdict: Literal["verified", "stale"]
    reason: str
    record: Record
    output: str


def examine(job: Job, row: Row | None, wanted: Record) -> Standing | None:
    """Compare what stands at a job's output with what the job would give.

    The manifest's row says what was written there; where a killed process wrote none, the
    sidecar does. Names and times are not believed.

    Args:
        job: the job.
        row: the manifest's, where there is one.
        wanted: hashes of the input, model and settings as they are now.

    Returns:
        None where nothing stands there, or only the uncertainty that a killed process left.

    Raises:
        UserError: the output cannot be read.
    """
    known, output = _remembered(job, row)
    if not job.output.exists():
        if _fault_of_uncertainty(job) in ("", _MISSING):
            return None
        reason = (
            f"something stands at {job.uncertainty}, where its uncertainty goes, that this "
            "program knows nothing of"
        )
        return Standing("stale", reason, known, output)
    if not output:
        reason = "something stands there that is no translation this program knows of"
    elif hash_output(job.output) != output:
        reason = "the output was changed after it was translated"
    elif known.input != wanted.input:
        reason = "the input has changed since it was translated"
    elif known.model != wanted.model:
        reason = "it was translated by another model"
    elif known.settings != wanted.settings:
        reason = "it was translated with other settings"
    elif not read_sidecar(job.sidecar):
        reason = "its sidecar is missing, which says that it is synthetic"
    elif fault := _fault_of_uncertainty(job):
        reason = fault
    else:
        return Standing("verified", "", known, output)
    return Standing("stale", reason, known, output)


def _fault_of_uncertainty(job: Job) -> str:
    """What is wrong with the uncertainty beside an output; nothing where none is asked for."""
    if job.uncertainty is None:
        return ""
    if not job.uncertainty.exists():
        return _MISSING
    if hash_output(job.uncertainty) != read_sidecar(job.sidecar).get(UNCERTAINTY_HASH):
        return "its uncertainty was changed after it was written"
    return ""


def refuse_anothers_sidecar(job: Job) -> None:
    """Refuse to replace the sidecar of another output of the same name, as of `a.nii` for `a.mha`.

    Raises:
        UserError: that output stands there, as it was translated.
    """
    digest = read_sidecar(job.sidecar).get("output_sha256")
    for suffix in (*VOLUME_SUFFIXES, *PICTURE_SUFFIXES, ""):
        other = job.sidecar.with_name(job.sidecar.name.removesuffix(".json") + suffix)
        if digest and other != job.output and other.exists() and hash_output(other) == digest:
            raise UserError(
                f"{job.sidecar}: is the sidecar of {other.name}, which {job.output.name} would "
                "take away; choose another output folder with -o"
            )


def _remembered(job: Job, row: Row | None) -> tuple[Record, str]:
    if row is not None and row.output_sha256:
        return Record(row.input_sha256, row.model, row.settings), row.output_sha256
    facts = read_sidecar(job.sidecar)
    model = facts.get("model")
    values = [
        facts.get("input_sha256"),
        model.get("hash") if isinstance(model, dict) else None,
        facts.get("settings_sha256"),
        facts.get("output_sha256"),
    ]
    first, second, third, output = (v if isinstance(v, str) else "" for v in values)
    return Record(first, second, third), output
