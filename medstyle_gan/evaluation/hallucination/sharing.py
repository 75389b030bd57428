"""Subjects shared out to processes: what is found in each, in the subjects' order."""

from __future__ import annotations

import multiprocessing
import os
import pickle
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Literal

import torch

from medstyle_gan.evaluation.chapter import Candidate, Subject
from medstyle_gan.evaluation.hallucination.subject_findings import (
    Settings,
    SubjectFindings,
    subject_findings,
)

_given: tuple[Sequence[Subject], Mapping[str, Candidate], Sequence[Settings]] | None = None


def all_findings(
    subjects: Sequence[Subject],
    candidates: Mapping[str, Candidate],
    settings: Sequence[Settings],
    workers: int = 1,
    start: Literal["spawn", "fork"] = "spawn",
) -> list[SubjectFindings]:
    """What is found in every subject; the same whatever the number of processes.

    Args:
        subjects: read one at a time.
        candidates: by name; with several workers they are pickled, as subjects and settings are.
        settings: of each subject.
        workers: processes; each has its share of the cores.
        start: how processes begin.
    """
    workers = min(workers, len(subjects))
    if workers < 2:
        return [
            subject_findings(subjects[index], candidates, own) for index, own in enumerate(settings)
        ]
    given = pickle.dumps((subjects, dict(candidates), list(settings)))
    threads = max(1, (os.cpu_count() or 1) // workers)
    context = multiprocessing.get_context(start)
    with ProcessPoolExecutor(workers, context, _begin, (given, threads)) as pool:
        return list(pool.map(_find, range(len(subjects))))


def _begin(given: bytes, threads: int) -> None:
    global _given
    torch.set_num_threads(threads)
    _given = pickle.loads(given)


def _find(index: int) -> SubjectFindings:
    assert _given is not None
    subjects, candidates, settings = _given
    return subject_findings(subjects[index], candidates, settings[index])
