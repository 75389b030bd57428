"""Every chapter by name, and running one: subject by subject in processes where that can be."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from importlib import import_module

from medstyle_gan.evaluation.chapter import Candidate, Chapter, ChapterName, Subject
from medstyle_gan.evaluation.context import EvaluationContext
from medstyle_gan.evaluation.sharing import libraries_held_to, process_context, threads_each

Run = Callable[[Sequence[Subject], Mapping[str, Candidate], EvaluationContext], Chapter]
OnProgress = Callable[[int, int], None]

RUNS: Mapping[ChapterName, str] = {
    "fidelity": "medstyle_gan.evaluation.fidelity_chapter:run",
    "structure": "medstyle_gan.evaluation.structure:run",
    "visual_effect": "medstyle_gan.evaluation.visual_effect:run",
    "robustness": "medstyle_gan.evaluation.robustness:run",
    "efficiency": "medstyle_gan.evaluation.efficiency:run",
    "interpretability": "medstyle_gan.evaluation.interpretability:run",
    "hallucination": "medstyle_gan.evaluation.hallucination:run",
}
# Their figures are of one subject each, so subjects can be shared out.
BY_SUBJECT: frozenset[ChapterName] = frozenset({"fidelity", "structure"})

_given: tuple[Sequence[Subject], Mapping[str, Candidate], EvaluationContext] | None = None


class SubjectProcesses:
    """Processes that go through subjects; started when they are needed first, for all chapters.

    Args:
        subjects: as `Subjects`, so that only one or a few are in memory; they are pickled, as
            the candidates are.
        candidates: by name.
        context: its `workers` are the processes.
    """

    def __init__(
        self,
        subjects: Sequence[Subject],
        candidates: Mapping[str, Candidate],
        context: EvaluationContext,
    ) -> None:
        self._given = subjects, dict(candidates), replace(context, workers=1)
        self._workers = min(context.workers, len(subjects))
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> SubjectProcesses:
        return self

    def __exit__(self, *error: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def run(self, name: ChapterName, on_progress: OnProgress | None = None) -> Chapter:
        """Runs one of `BY_SUBJECT`'s chapters.

        Args:
            name: which.
            on_progress: called with (subjects done, subjects in all).
        """
        subjects, candidates, context = self._given
        indices = range(len(subjects))
        found: Iterable[Chapter]
        if self._workers < 2:
            run = _run(name)
            found = (run(subjects[i : i + 1], candidates, context) for i in indices)
        else:
            with libraries_held_to(threads_each(self._workers)):  # processes begin here
                found = self._started().map(_run_one, [name] * len(subjects), indices)
        parts: list[Chapter] = []
        for part in found:
            parts.append(part)
            if on_progress is not None:
                on_progress(len(parts), len(subjects))
        return joined(parts)

    def _started(self) -> ProcessPoolExecutor:
        if self._pool is None:
            threads = threads_each(self._workers)
            given = pickle.dumps(self._given), threads
            self._pool = ProcessPoolExecutor(self._workers, process_context(), _begin, given)
        return self._pool


def run_chapters(
    names: Sequence[ChapterName],
    subjects: Sequence[Subject],
    candidates: Mapping[str, Candidate],
    context: EvaluationContext,
    announce: Callable[[str], None] | None = None,
) -> tuple[Chapter, ...]:
    """Runs chapters one after the other.

    Args:
        names: which.
        subjects: at least one.
        candidates: by name.
        context: what they share. Those whose figures are of single subjects share the
            subjects out to its `workers`; the others start processes themselves.
        announce: takes a line about what is being done.
    """
    say = announce or (lambda line: None)
    chapters = []
    with SubjectProcesses(subjects, candidates, context) as processes:
        for name in names:
            say(f"{name} ...")
            if name not in BY_SUBJECT:
                chapters.append(_run(name)(subjects, candidates, context))
                continue

            def tell(done: int, total: int, name: str = name) -> None:
                say(f"{name}: {done} of {total} subjects")

            chapters.append(processes.run(name, tell))
    return tuple(chapters)


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
