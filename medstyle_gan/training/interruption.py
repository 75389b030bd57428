"""What stops a training early: Ctrl-C, SIGTERM, SIGUSR1 and the end of its time.

Each is noted, so that the step is finished and a checkpoint written, and then told by the exit
code; before the first step and after the last one it ends the training at once. A job script
can tell by the code what to do: 75 (`EX_TEMPFAIL` of sysexits.h) is a training whose time is
over, which wants to be started again; 143 one that somebody else ended.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from enum import IntEnum
from types import FrameType, TracebackType

from medstyle_gan.signals import answered


class Reason(IntEnum):
    """Why a training is to stop; where several come together, the largest counts."""

    NONE = 0
    TIME_IS_OVER = 1  # training.max_time
    WARNED = 2  # SIGUSR1: SLURM's `--signal=USR1@90`, seconds before the job's time is over
    CTRL_C = 3
    TERMINATED = 4  # SIGTERM: a pre-emption, scancel, a shutdown


TIME_IS_OVER_CODE = 75
_REASONS = {
    signal.SIGINT: Reason.CTRL_C,
    signal.SIGTERM: Reason.TERMINATED,
    signal.SIGUSR1: Reason.WARNED,
}


class Interruption:
    """Notes signals and the time instead of raising, so that a step is never torn.

    A second Ctrl-C raises `KeyboardInterrupt`. Use it as a context manager around the
    training. Outside the main thread, where Python delivers no signals, it watches the time
    alone.

    Args:
        deadline: time of `clock` when the training's time is over; None for no limit.
        clock: seconds, monotonic.

    Attributes:
        reason: why the training stops; all ranks have agreed on it (`Stopping` sets it).
    """

    def __init__(
        self, deadline: float | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.reason = Reason.NONE
        self._deadline = deadline
        self._clock = clock
        self._signalled = Reason.NONE
        self._answered = ExitStack()

    def __enter__(self) -> Interruption:
        self._answered.enter_context(answered(_REASONS, self._on_signal))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._answered.close()

    @property
    def requested(self) -> bool:
        """Whether the training stops after this step, on all ranks."""
        return self.reason is not Reason.NONE

    @property
    def noted(self) -> Reason:
        """What this process alone knows of so far."""
        if self._signalled is Reason.NONE and self._deadline is not None:
            return Reason.TIME_IS_OVER if self._clock() >= self._deadline else Reason.NONE
        return self._signalled

    def as_exception(self) -> BaseException:
        """What ends the program: `KeyboardInterrupt`, or an exit with 143 or 75."""
        return _exception(self.reason or self.noted)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        again = self._signalled is not Reason.NONE
        if again and number == signal.SIGINT:
            raise KeyboardInterrupt
        if not again or number == signal.SIGTERM:
            self._signalled = _REASONS[signal.Signals(number)]


@contextmanager
def ended_at_once(announce: Callable[[str], None] | None) -> Iterator[None]:
    """Where no step is under way, SIGTERM and SIGUSR1 end the program by their exit codes.

    Left alone they would kill it: SIGUSR1 with a code that asks for no requeue. Ctrl-C raises
    already. An `Interruption` inside takes its signals. Does nothing outside the main thread.

    Args:
        announce: takes a line; None says nothing.

    Raises:
        SystemExit: with code 143 or 75.
    """
    signalled: list[Reason] = []

    def end(number: int, frame: FrameType | None) -> None:
        signalled.append(_REASONS[signal.Signals(number)])
        raise _exception(signalled[0])

    try:
        with answered([signal.SIGTERM, signal.SIGUSR1], end):
            yield
    except SystemExit:
        if signalled and announce is not None:
            announce("stopped while no step was under way: all that was written stays")
        raise


def _exception(reason: Reason) -> BaseException:
    if reason is Reason.CTRL_C:
        return KeyboardInterrupt()
    if reason is Reason.TERMINATED:
        return SystemExit(128 + signal.SIGTERM)
    return SystemExit(TIME_IS_OVER_CODE)
