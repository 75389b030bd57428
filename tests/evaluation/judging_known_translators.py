"""Every chapter on the known translators, and what it makes of them."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from medstyle_gan.config import load_config
from medstyle_gan.evaluation.candidates import Remembering, Translation, make_candidates
from medstyle_gan.evaluation.chapter import (
    CHAPTERS,
    TRANSLATION,
    Candidate,
    Chapter,
    ChapterName,
)
from medstyle_gan.evaluation.chapters import run_chapters
from medstyle_gan.evaluation.context import EvaluationContext
from medstyle_gan.evaluation.references import StyleIntensities, foreground_quantiles
from medstyle_gan.evaluation.thresholds import read_thresholds
from medstyle_gan.evaluation.verdict import judge
from tests.evaluation import looking_at_phantoms as phantoms
from tests.evaluation.known_translators import KNOWN_TRANSLATORS, know, known_translator

# What these tell is of the model alone, by its networks: each model has a run of its own.
OF_THE_MODEL: frozenset[ChapterName] = frozenset({"efficiency", "interpretability"})


class Known:
    """The known translators on phantoms.

    Args:
        seeds: of the subjects, two at least.
        style_seeds: of the style collection's, which the models were trained on; as many at least.
        names: of translators.
    """

    def __init__(
        self,
        seeds: Sequence[int],
        style_seeds: Sequence[int],
        names: Sequence[str] = KNOWN_TRANSLATORS,
    ) -> None:
        self._subjects = [phantoms.subject(seed) for seed in seeds]
        style = [phantoms.real_volume(seed) for seed in style_seeds]
        training = [phantoms.subject(seed) for seed in style_seeds[: len(seeds)]]
        config = load_config(
            options={
                "data.sample_size": list(phantoms.SHAPE[:2]),
                "data.spacing": list(phantoms.SPACING),
                "vgg.weights": "random:0",
            }
        )
        slices = know(self._subjects, training)
        self._translators = {name: known_translator(name, slices, config) for name in names}
        quantiles = np.stack([foreground_quantiles(*volume.load()) for volume in style])
        any_one = next(iter(self._translators.values()))
        made = make_candidates(any_one, StyleIntensities(quantiles), {})
        self._references = {name: c for name, c in made.items() if name != TRANSLATION}
        self._candidates: dict[str, Candidate] = {
            name: Remembering(Translation(translator))
            for name, translator in self._translators.items()
        }
        self._context = EvaluationContext(
            config,
            style=style,
            training_style=style,
            style_scale=any_one.scales["style"],
            vgg=config.vgg,
            quick=True,
        )

    def chapters(self, name: ChapterName) -> Mapping[str, Chapter]:
        """One chapter of every translator."""
        if name in OF_THE_MODEL:
            return {
                own: self._run(name, {TRANSLATION: candidate}, own)
                for own, candidate in self._candidates.items()
            }
        # All in one run, as if they were references: what is made of scans is made once.
        first, *others = self._candidates
        given = {TRANSLATION: self._candidates[first], **self._references}
        given |= {other: self._candidates[other] for other in others}
        chapter = self._run(name, given, first)
        return {
            own: _as_translation(chapter, TRANSLATION if own == first else own, self._references)
            for own in self._candidates
        }

    def _run(self, name: ChapterName, candidates: Mapping[str, Candidate], own: str) -> Chapter:
        context = replace(self._context, translator=self._translators[own])
        # One subject is enough where each model has a run of its own.
        subjects = self._subjects[: 1 if name in OF_THE_MODEL else None]
        (chapter,) = run_chapters([name], subjects, candidates, context)
        return chapter


def _as_translation(chapter: Chapter, own: str, references: Mapping[str, Candidate]) -> Chapter:
    """The chapter as it is of one translator and the references."""
    return replace(
        chapter,
        figures=tuple(
            replace(f, candidate=TRANSLATION) if f.candidate == own else f
            for f in chapter.figures
            if f.candidate == own or f.candidate in references
        ),
    )


def _table(seeds: Sequence[int], style_seeds: Sequence[int]) -> None:
    """Prints every verdict and what was asked; for those who change a limit."""
    known, thresholds = Known(seeds, style_seeds), read_thresholds()
    for chapter in CHAPTERS:
        for name, of_it in known.chapters(chapter).items():
            verdict = judge(of_it, thresholds)
            sys.stdout.write(f"{name:9} {chapter:16} {verdict.verdict}\n")
            for check in verdict.checks:
                sys.stdout.write(f"{'':12}{check.verdict:5} {check.why}\n")


if __name__ == "__main__":
    # python -m tests.evaluation.judging_known_translators 31,32 101,102,103
    _table(*([int(seed) for seed in argument.split(",")] for argument in sys.argv[1:]))
