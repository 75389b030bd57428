"""Subjects shared out to processes: what is found in each, in the subjects' order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from medstyle_gan.evaluation.chapter import Candidate, Subject
from medstyle_gan.evaluation.hallucination.subject_findings import (
    Settings,
    SubjectFindings,
    subject_findings,
)
from medstyle_gan.evaluation.sharing import shared_out

_Given = tuple[Sequence[Subject], Mapping[str, Candidate], Sequence[Settings]]


def all_findings(
    subjects: Sequence[Subject],
    candidates: Mapping[str, Candidate],
    settings: Sequence[Settings],
    workers: int = 1,
    start: Literal["fork"] | None = None,
) -> list[SubjectFindings]:
    """What is found in every subject; the same whatever the number of processes.

    Args:
        subjects: read one at a time.
        candidates: by name; with several workers they are pickled, as subjects and settings are.
        settings: of each subject.
        workers: processes; each has its share of the cores.
        start: how processes begin, see `shared_out`.
    """
    given: _Given = (subjects, dict(candidates), list(settings))
    return list(shared_out(_find, given, len(settings), workers, start))


def _find(given: _Given, index: int) -> SubjectFindings:
    subjects, candidates, settings = given
    return subject_findings(subjects[index], candidates, settings[index])
