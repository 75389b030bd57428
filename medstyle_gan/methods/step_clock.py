"""Where a training step's time goes, by the networks it is spent on.

A step has one backward for all its losses, so that its time cannot be read off around a call.
But autograd computes what was made last first, and tensors tell when their gradient has
arrived: from then on the time belongs to the part of the step that made the tensor.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import pairwise

import torch
from torch import Tensor

REST = "rest"


class StepClock:
    """Adds up the seconds of a step's parts, in those steps in which it runs.

    While it does not run it changes and costs nothing. On a GPU it notes events in the stream
    and never waits; only `seconds` does.

    Args:
        clock: seconds, monotonic; used where there is no GPU.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._cuda = False
        self._running = False
        self._part = REST
        # Time from each mark to the next belongs to the part named with it; None ends a step.
        self._marks: list[tuple[str | None, float | torch.cuda.Event]] = []

    def start(self, device: torch.device) -> None:
        """Begin to measure: a step begins."""
        self._cuda = device.type == "cuda"
        self._running = True
        self._switch(REST)

    def stop(self) -> None:
        """The step is done."""
        if self._running:
            self._running = False
            self._mark(None)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """What happens inside belongs to a part, unless a part inside takes it."""
        if not self._running:
            yield
            return
        outer = self._part
        self._switch(name)
        try:
            yield
        finally:
            self._switch(outer)

    def backward(self, name: str, tensors: Iterable[Tensor]) -> None:
        """The backward from these tensors on belongs to a part, until another part's begins."""
        if not self._running:
            return
        for tensor in tensors:
            if tensor.requires_grad:
                tensor.register_hook(lambda gradient: self._switch(name))

    def seconds(self) -> dict[str, float]:
        """Seconds of each part, and of the `rest`, since the last call."""
        marks, self._marks = self._marks, []
        totals: dict[str, float] = {}
        if self._cuda and marks:
            torch.cuda.synchronize()
        for (part, began), (_, ended) in pairwise(marks):
            if part is not None:
                totals[part] = totals.get(part, 0.0) + _between(began, ended)
        return totals

    def _switch(self, name: str) -> None:
        if self._running:  # a gradient may be asked for after the step
            self._part = name
            self._mark(name)

    def _mark(self, part: str | None) -> None:
        if not self._cuda:
            self._marks.append((part, self._clock()))
            return
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        self._marks.append((part, event))


def _between(began: float | torch.cuda.Event, ended: float | torch.cuda.Event) -> float:
    if isinstance(began, float) or isinstance(ended, float):
        assert isinstance(began, float)
        assert isinstance(ended, float)
        return ended - began
    return float(began.elapsed_time(ended)) / 1e3
