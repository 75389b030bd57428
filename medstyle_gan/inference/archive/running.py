"""Many files: each translated, written whole or not at all, and reported; the rest goes on."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from medstyle_gan.data.words import Direction
from medstyle_gan.errors import UserError
from medstyle_gan.inference.archive.kinds import KINDS, Patients, Setting
from medstyle_gan.inference.archive.manifest import Manifest, Row, open_manifest
from medstyle_gan.inference.archive.memory import MemoryPlan
from medstyle_gan.inference.archive.overlapping import Shares, overlapped
from medstyle_gan.inference.archive.planning import names_a_file, plan_translation
from medstyle_gan.inference.archive.sharding import Shard
from medstyle_gan.inference.archive.standing import Standing, examine, refuse_anothers_sidecar
from medstyle_gan.inference.archive.warnings import noteworthy
from medstyle_gan.inference.outputs.committing import commit
from medstyle_gan.inference.outputs.hashing import hash_facts, stamp
from medstyle_gan.inference.outputs.job import Job
from medstyle_gan.inference.outputs.record import Record, hash_of_model, hash_of_settings
from medstyle_gan.inference.outputs.sidecar import describe_translation
from medstyle_gan.inference.translator import OnProgress, Translator
from medstyle_gan.volumes import ensure_writable_folder
from medstyle_gan.volumes.hashing import hash_file, hash_files

_SHORT = 2


@dataclass(frozen=True)
class Outcome:
    """What became of one file.

    Attributes:
        input: the file.
        output: what stands there now; None where it failed.
        status: translated; left as it was, being the asked translation already; left as it was
            though it is another (`stale`); or failed.
        reason: why it failed or is stale; empty otherwise.
        seconds: time it took.
        bad_input: whether it failed for something that the user can mend.
        warnings: what is noteworthy about a translation.
    """

    input: Path
    output: Path | None
    status: Literal["done", "skipped", "stale", "failed"]
    reason: str
    seconds: float
    bad_input: bool = False
    warnings: tuple[str, ...] = ()


def translate_files(
    translator: Translator,
    inputs: Sequence[str | Path],
    out: str | Path,
    direction: Direction = "scan_to_style",
    overwrite: bool = False,
    patients: Patients | None = None,
    uncertainty: bool = False,
    mark: bool = True,
) -> Iterator[Outcome]:
    """Translate files and folders into a folder; see `plan_translation` for the names.

    What can be refused beforehand is refused by this call, before the first outcome. OUT gets a
    `manifest.csv`, but for a single output that is given a name.

    Args:
        translator: the model.
        inputs: files and folders.
        out: folder of the translations, made where missing.
        direction: which way.
        overwrite: translate again what exists in `out`.
        patients: what DICOM translations say of the patient; nothing by default.
        uncertainty: write the uncertainty beside each translation.
        mark: draw a visible mark in translations that are pictures.

    Returns:
        one outcome a file, as each is finished.

    Raises:
        UserError: as `plan_translation` does, and when `out` cannot be written to.
    """
    patients = patients or Patients()
    jobs = plan_translation(
        translator,
        inputs,
        out,
        direction,
        uncertainty=uncertainty,
        pseudonyms=patients.pseudonyms,
    )
    folder = None if names_a_file(Path(out)) else Path(out)
    return run_translation(
        translator, jobs, direction, overwrite, out=folder, patients=patients, mark=mark
    )


def run_translation(
    translator: Translator,
    jobs: Sequence[Job],
    direction: Direction = "scan_to_style",
    overwrite: bool = False,
    on_progress: OnProgress | None = None,
    *,
    out: Path | None = None,
    shard: Shard | None = None,
    workers: int = 1,
    memory: MemoryPlan | None = None,
    patients: Patients | None = None,
    mark: bool = True,
) -> Iterator[Outcome]:
    """Do what `plan_translation` planned; the first arguments are those of `translate_files`.

    An output that stands there already is left alone where its bytes, and the input, model and
    settings behind it, are the asked ones; where one of them differs it is `stale`, and stays
    unless `overwrite` is set.

    Args:
        on_progress: called with how much of the files at work is done, a number of files.
        out: the folder whose `manifest.csv` is kept; None keeps none.
        shard: the part of `jobs` that this process does; all of it by default.
        workers: files that are at work at once, so that one is read or written while another
            is in the network, which takes one batch at a time.
        patients: what DICOM translations say of the patient; nothing by default.
        mark: draw a visible mark in translations that are pictures.

    Raises:
        UserError: when an output folder cannot be written to, before the first outcome; when
            another process is writing the same files; at the end, where the manifest could
            not be written.
    """
    for folder in {job.output.parent for job in jobs if not job.fault}:
        ensure_writable_folder(folder)
    shard = shard or Shard()
    work = _Work(
        translator, direction, overwrite, Shares(on_progress), memory, patients or Patients(), mark
    )
    return work.all(shard.of(jobs), out, shard, workers)


class _Work:
    """One call of `run_translation`."""

    def __init__(
        self,
        translator: Translator,
        direction: Direction,
        overwrite: bool,
        shares: Shares,
        memory: MemoryPlan | None,
        patients: Patients,
        mark: bool,
    ) -> None:
        self.memory = memory
        self.mark = mark
        self.translator = translator
        self.direction = direction
        self.overwrite = overwrite
        self.shares = shares
        self.patients = patients
        self.model = hash_of_model(translator)

    def all(
        self, jobs: Sequence[Job], out: Path | None, shard: Shard, workers: int
    ) -> Iterator[Outcome]:
        with nullcontext() if out is None else open_manifest(out, shard) as manifest:
            yield from overlapped(
                jobs, lambda job: self.outcome(job, manifest, out), workers, self.shares
            )

    def outcome(self, job: Job, manifest: Manifest | None, out: Path | None) -> Outcome:
        start = time.perf_counter()
        name = job.output.name if out is None else job.output.relative_to(out).as_posix()
        before = None if manifest is None else manifest.rows.get(name)
        bad_input, reason, row = False, "", Row(job.relative.as_posix(), name, "failed")
        try:
            outcome, row = self._translate(job, before, row, start)
        except UserError as error:
            bad_input, reason = True, str(error)
            if job.input.name not in reason:  # the model's fault is noticed far from the file
                reason = f"{job.input}: {reason}"
        except Exception as error:  # a bug or too little memory must not stop a night's work
            reason = f"{job.input}: unexpected {type(error).__name__}: {error}"
        if reason:
            seconds = time.perf_counter() - start
            outcome = Outcome(job.input, None, "failed", reason, seconds, bad_input)
            told = _without_paths(reason, job, out)
            row = Row(row.input, name, "failed", f"{seconds:.3f}", warnings=told)
        if manifest is not None and row != before:
            manifest.add(row)
        return outcome

    def _translate(
        self, job: Job, before: Row | None, row: Row, start: float
    ) -> tuple[Outcome, Row]:
        if job.fault:
            raise UserError(job.fault)
        if self.memory is not None and job.kind != "picture":
            # Refused by its header, before a file of terabytes is read for its hash.
            self.memory.of_volume(job.header(), job.uncertainty is not None)
        stamped = stamp(job.sources)
        digest = hash_files(job.files) if job.files else hash_file(job.input)
        uncertain = job.uncertainty is not None
        settings = hash_of_settings(self.translator, self.direction, uncertain)
        if job.kind == "series":  # the header's are settings too, but of no other kind
            settings = hash_facts({"translation": settings, "profile": self.patients.profile})
        elif job.kind in ("picture", "picture_stack"):
            settings = hash_facts({"translation": settings, "marked": self.mark})
        record = Record(digest, self.model, settings)
        standing = None if self.overwrite else examine(job, before, record)
        if standing is not None:
            return _left_alone(job, standing, before, row)
        kind = KINDS[job.kind]
        for target in filter(None, (job.output, job.uncertainty)):
            kind.refuse_foreign(target)
        refuse_anothers_sidecar(job)
        setting = Setting(
            self.translator,
            self.direction,
            self.memory,
            lambda share: self.shares.tell(job, share),
            self.patients,
            self.mark,
        )
        made = kind.make(setting, job)
        if stamp(job.sources) != stamped:
            raise UserError(
                f"{job.input}: was changed while it was read; translate it again once nothing "
                "writes to it"
            )
        warnings = noteworthy(made.translation, made.dtype)
        facts = describe_translation(
            self.translator,
            made.translation,
            made.dtype,
            record,
            time.perf_counter() - start,
            warnings,
        )
        written = commit(job, facts, made.write, made.write_uncertainty)
        seconds = time.perf_counter() - start
        outcome = Outcome(job.input, job.output, "done", "", seconds, warnings=warnings)
        return outcome, _row(row, "done", seconds, record, written, "; ".join(warnings))


def _left_alone(job: Job, standing: Standing, before: Row | None, row: Row) -> tuple[Outcome, Row]:
    """The outcome and the row of an output that stays as it is."""
    if standing.verdict == "verified":
        if before is None or before.status != "done":  # by a process that was killed, or stale then
            before = _row(row, "done", None, standing.record, standing.output, "")
        return Outcome(job.input, job.output, "skipped", "", 0.0), before
    reason = f"{job.output}: {standing.reason}; --overwrite translates it again"
    outcome = Outcome(job.input, job.output, "stale", reason, 0.0)
    return outcome, _row(row, "stale", None, standing.record, standing.output, standing.reason)


def _row(
    row: Row, status: str, seconds: float | None, record: Record, output: str, warnings: str
) -> Row:
    return Row(
        input=row.input,
        output=row.output,
        status=status,
        seconds="" if seconds is None else f"{seconds:.3f}",
        input_sha256=record.input,
        output_sha256=output,
        model=record.model,
        settings=record.settings,
        warnings=warnings,
    )


def _without_paths(reason: str, job: Job, out: Path | None) -> str:
    """A reason with the names that the manifest has in place of this machine's paths."""
    if job.fault:
        return job.told
    said = reason
    for number, source in enumerate(job.files, start=1):
        said = said.replace(str(source), f"file {number}" if job.private else source.name)
    if out is not None:
        said = said.replace(f"{out}/", "").replace(str(out), "OUT")
    said = said.replace(str(job.input), job.relative.as_posix())
    said = said.replace(str(job.output), job.output.name).replace(f"{job.output.parent}/", "")
    return _without_names(said, job) if job.private else said


def _without_names(said: str, job: Job) -> str:
    """A reason without the names of the input's files and of the folders that they are in."""
    numbered = {file.name: f"file {number}" for number, file in enumerate(job.files, start=1)}
    names = {part: "a folder" for path in job.sources for part in path.parts[:-1]} | numbered
    names.setdefault(job.input.name, job.relative.name)
    for name in sorted(names, key=len, reverse=True):
        # No patient has a name of two letters, but many a word of a message has them in it.
        if len(name) > _SHORT:
            said = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", names[name], said)
    return said
