"""Pass, warn or fail for each chapter, with one sentence why."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from medstyle_gan.evaluation.bootstrap import confidence_interval
from medstyle_gan.evaluation.chapter import TRANSLATION, Chapter, ChapterName
from medstyle_gan.evaluation.references import REFERENCE_NAMES
from medstyle_gan.evaluation.summary import Key, Summary, key_of, summarize
from medstyle_gan.evaluation.thresholds import LEVELS, Level, Threshold, Thresholds
from medstyle_gan.evaluation.wording import number, title, with_unit

Judgement = Literal["pass", "warn", "fail", "not judged"]


@dataclass(frozen=True)
class Check:
    """One threshold's outcome.

    Attributes:
        figure: what was asked of, as it is shown.
        verdict: how it came out.
        why: a clause: `PSNR 15.1 dB beats the best reference (histogram matching, 12.0 dB)`.
    """

    figure: str
    verdict: Level
    why: str


@dataclass(frozen=True)
class ChapterVerdict:
    """A chapter's outcome.

    Attributes:
        chapter: which.
        verdict: the worst of the checks; `not judged` where nothing could be checked.
        why: one sentence.
        checks: every threshold that could be checked.
    """

    chapter: ChapterName
    verdict: Judgement
    why: str
    checks: tuple[Check, ...] = ()


def judge(chapter: Chapter, thresholds: Thresholds, seed: int = 0) -> ChapterVerdict:
    """Judges a chapter.

    Args:
        chapter: its figures, of the translation and the references.
        thresholds: as `read_thresholds` gives them.
        seed: of the bootstrap.
    """
    summaries = {(s.key, s.candidate): s for s in summarize(chapter.figures, seed)}
    asked = thresholds.get(chapter.name, ())
    checks = [check for threshold in asked for check in _check(threshold, summaries, seed)]
    if not checks:
        if not asked:
            why = "The thresholds ask nothing of this chapter."
        else:
            why = chapter.notes[0] if chapter.notes else "None of its figures could be measured."
        return ChapterVerdict(chapter.name, "not judged", why)
    worst = worst_of(check.verdict for check in checks)
    deciding = [check for check in checks if check.verdict == worst]
    shown = deciding if worst != "pass" else checks
    return ChapterVerdict(chapter.name, worst, _sentence(shown), tuple(checks))


def worst_of(verdicts: Iterable[Judgement]) -> Level:
    """The worst verdict of those that were given; at least one must be.

    Raises:
        ValueError: There is none.
    """
    given = [v for v in verdicts if v != "not judged"]
    if not given:
        raise ValueError("nothing was judged")
    return max(given, key=LEVELS.index)


def overall(verdicts: Sequence[ChapterVerdict]) -> Judgement:
    """The verdict over all chapters: the worst of those judged."""
    if all(v.verdict == "not judged" for v in verdicts):
        return "not judged"
    return worst_of(v.verdict for v in verdicts)


def _sentence(checks: Sequence[Check], most: int = 3) -> str:
    clauses = [check.why for check in checks[:most]]
    more = len(checks) - most
    if more > 0:
        clauses.append(f"and {more} more")
    text = "; ".join(clauses)
    return text[0].upper() + text[1:] + "."


def _check(
    threshold: Threshold, summaries: Mapping[tuple[Key, str], Summary], seed: int
) -> Iterable[Check]:
    key = key_of(threshold.figure, threshold.of)
    own = summaries.get((key, TRANSLATION))
    if own is None:
        return
    name, value = title(own.name, own.of), _statistic(own, threshold.statistic)
    if math.isnan(value):
        # What cannot be measured cannot be vouched for.
        yield Check(name, "warn", f"{name} could not be measured")
        return
    for bound, sign in ((threshold.at_most, 1), (threshold.at_least, -1)):
        if bound is None:
            continue
        verdict, limit = _within(sign * value, sign * bound.to_pass, sign * bound.to_warn)
        word = {"pass": "keeps to", "warn": "misses", "fail": "misses by far"}[verdict]
        what = "" if threshold.statistic == "mean" else f"{threshold.statistic} "
        most = "at most" if sign > 0 else "at least"
        yield Check(
            name,
            verdict,
            f"{what}{name} {with_unit(value, own.unit)} {word} its limit "
            f"({most} {number(sign * limit)})",
        )
    references = [s for r in REFERENCE_NAMES if (s := summaries.get((key, r))) is not None]
    if threshold.references != "ignore" and references and own.better is not None:
        yield _against(threshold, own, references, seed)


def _statistic(summary: Summary, statistic: str) -> float:
    values = np.array(list(summary.values.values()), dtype=np.float64)
    if statistic == "worst":
        return float(values.max() if summary.better == "lower" else values.min())
    return float(np.median(values) if statistic == "median" else values.mean())


def _within(value: float, to_pass: float, to_warn: float) -> tuple[Level, float]:
    """The verdict of a value that should be low, and the limit that decided."""
    if value <= to_pass:
        return "pass", to_pass
    return ("warn", to_pass) if value <= to_warn else ("fail", to_warn)


def _against(threshold: Threshold, own: Summary, references: Sequence[Summary], seed: int) -> Check:
    sign = 1 if own.better == "higher" else -1
    name = title(own.name, own.of)
    value = _statistic(own, threshold.statistic)
    scored = [(sign * _statistic(r, threshold.statistic), r) for r in references]
    known = [entry for entry in scored if not math.isnan(entry[0])]
    if not known:
        return Check(name, "pass", f"{name} {with_unit(value, own.unit)} has no reference")
    best_value, best = max(known, key=lambda entry: entry[0])
    gain = sign * value - best_value
    if math.isnan(gain):  # both infinite: both perfect
        gain = 0.0
    against = f"{title(best.candidate)}, {with_unit(sign * best_value, own.unit)}"
    shown = f"{name} {with_unit(value, own.unit)}"
    margin = 1e-6 * max(abs(best_value), 1e-12) if math.isfinite(best_value) else 0.0
    if gain > margin:
        return Check(name, "pass", f"{shown} beats the best reference ({against})")
    if gain >= -margin and threshold.references == "match":
        return Check(name, "pass", f"{shown} is as good as the best reference ({against})")
    verdict = threshold.worse
    if verdict == "fail" and _told_apart(own, best, seed) is False:
        verdict = "warn"
    word = "no better than" if gain >= -margin else "worse than"
    return Check(name, verdict, f"{shown} is {word} the best reference ({against})")


def _told_apart(own: Summary, other: Summary, seed: int) -> bool | None:
    """Whether the interval of the paired differences leaves 0 out; None where there is none."""
    shared = [s for s in own.values if s is not None and s in other.values]
    differences = [own.values[s] - other.values[s] for s in shared]
    interval = confidence_interval(differences, seed)
    if interval is None or interval == (0.0, 0.0):
        return None
    low, high = interval
    return low > 0 or high < 0
