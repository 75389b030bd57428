"""Evaluates a model in this process, and prints seconds, memory and the page's size as JSON."""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from pathlib import Path

# Before torch counts them.
if __name__ == "__main__" and (cores := sys.argv[7]):
    os.sched_setaffinity(0, [int(core) for core in cores.split(",")])

import torch

from medstyle_gan.evaluation.candidates import Translation
from medstyle_gan.evaluation.chapter import CHAPTERS, Array, Mask
from medstyle_gan.evaluation.chapters import RUNS
from medstyle_gan.evaluation.evaluating import Settings, evaluate

_MIB = 2.0**20


class Stopwatch:
    """Seconds of each chapter, by what `evaluate` announces, and of translating among them."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.translating: dict[str, float] = {}
        self._chapter = "around the chapters"
        self._since = time.perf_counter()
        self._translate = Translation.__call__

    def announced(self, line: str) -> None:
        """A chapter begins, or one of its subjects is done."""
        name = line.partition(" ")[0].rstrip(":")
        if name in CHAPTERS:
            self.stop()
            self._chapter = name

    def stop(self) -> None:
        """What is done until now belongs to the chapter that began last."""
        now = time.perf_counter()
        self.seconds[self._chapter] = self.seconds.get(self._chapter, 0.0) + now - self._since
        self._since = now

    def translate(self, translation: Translation, scan: Array, mask: Mask) -> Array:
        """The translator's own call, timed."""
        began = time.perf_counter()
        try:
            return self._translate(translation, scan, mask)
        finally:
            spent = time.perf_counter() - began
            self.translating[self._chapter] = self.translating.get(self._chapter, 0.0) + spent


def main(
    model: str, pairs: str, style: str, out: str, chapters: str, workers: str, cores: str
) -> None:
    """Evaluate, with all chapters where `chapters` is empty."""
    watch = Stopwatch()
    Translation.__call__ = lambda self, scan, mask: watch.translate(  # type: ignore[method-assign]
        self, scan, mask
    )
    names = [name for name in RUNS if name in chapters.split(",")] or None
    evaluate(
        model,
        out,
        pairs=pairs,
        style=style,
        settings=Settings(chapters=names, workers=int(workers)),
        announce=watch.announced,
    )
    watch.stop()
    print(
        json.dumps(
            {
                "threads": torch.get_num_threads(),
                "seconds": watch.seconds,
                "translating": watch.translating,
                "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / _MIB,
                "page_mib": (Path(out) / "report.html").stat().st_size / _MIB,
            }
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
