"""Every chapter by name, and running one: subject by subject in processes where that can be."""

from __future__ import annotations

import multiprocessing
import os
import pickle
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from importlib import import_module
from typing import Any

from medstyle_gan.evaluation.chapter import Candidate, Chapter, ChapterName, Subject
from medstyle_gan.evaluation.context import EvaluationContext

Run = Callable[[Sequence[Subject], Mapping[str, Candidate], EvaluationContext], Chapter]
OnProgress = Callable[[int, int], None]

RUNS: Mapping[ChapterName, str] = {
    "fidelity": "medstyle_gan.evaluation.fidelity_chapter:run",
    "structure": "medstyle_gan.evaluation.structure:run",
    "efficiency": "medstyle_gan.evaluation.efficiency:run",
}
# Their figures are of one subject each, so subjects can be shared out.
BY_SUBJECT: frozenset[ChapterName] = frozenset({"fidelity", "structure"})

_given: tuple[Sequence[Subject], Mapping[str, Candidate], EvaluationContext] | None = None


def run_chapter(
    name: ChapterName,
    subjects: Sequence[Subject],
    candidates: Mapping[str, Candidate],
    context: EvaluationContext,
    on_progress: OnProgress | None = None,
) -> Chapter:
    """Runs one chapter.

    Args:
        name: which.
        subjects: as `Subjects`, so that only one or a few are in memory.
        candidates: by name.
        context: with more than one of its `workers`, chapters whose figures are of single
            subjects go through the subjects in as many processes; subjects and candidates are
            then pickled.
        on_progress: called with (subjects done, subjects in all).
    """
    if name not in BY_SUBJECT:
        return _run(name)(subjects, candidates, context)
    workers = min(context.workers, len(subjects))
    parts: list[Chapter] = []
    if workers < 2:
        for index in range(len(subjects)):
            parts.append(_run(name)(subjects[index : index + 1], candidates, context))
            _tell(on_progress, len(parts), len(subjects))
        return joined(parts)
    given = pickle.dumps((subjects, dict(candidates), replace(context, workers=1)))
    threads = max(1, (os.cpu_count() or 1) // workers)
    with ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), _begin, (given, threads)
    ) as pool:
        for part in pool.map(_run_one, [name] * len(subjects), range(len(subjects))):
            parts.append(part)
            _tell(on_progress, len(parts), len(subjects))
    return joined(parts)


def joined(parts: Sequence[Chapter]) -> Chapter:
    """One chapter out of several of the same name, at least one, of different subjects."""
    return Chapter(
        parts[0].name,
        tuple(figure for part in parts for figure in part.figures),
        tuple(picture for part in parts for picture in part.pictures),
        tuple(dict.fromkeys(note for part in parts for note in part.notes)),
    )


def _run(name: ChapterName) -> Run:
    module, _, function = RUNS[name].partition(":")
    run: Run = getattr(import_module(module), function)
    return run


def _begin(given: bytes, threads: int) -> None:
    global _given
    import torch

    torch.set_num_threads(threads)
    _given = pickle.loads(given)


def _run_one(name: ChapterName, index: int) -> Chapter:
    assert _given is not None
    subjects, candidates, context = _given
    return _run(name)(subjects[index : index + 1], candidates, context)


def _tell(on_progress: OnProgress | None, *where: Any) -> None:
    if on_progress is not None:
        on_progress(*where)
