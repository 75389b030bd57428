"""Ctrl-C and SIGTERM during training: finish the step, write a checkpoint, then stop."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from medstyle_gan.training.processes import largest

_STOPPING = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """Notes Ctrl-C and SIGTERM instead of raising, so that a step is never torn.

    A second Ctrl-C raises `KeyboardInterrupt`. Use it as a context manager around the
    training. Outside the main thread, where Python delivers no signals, it does nothing.

    Attributes:
        requested: whether the training is to stop.
    """

    def __init__(self) -> None:
        self.requested = False
        self._first: int = signal.SIGINT
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            for number in _STOPPING:
                self._previous[number] = signal.getsignal(number)
                signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._previous.items():
            # None is a handler that was not set from Python and cannot be set again.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def claim(self) -> None:
        """Take the signals back, once the training has begun.

        Lightning puts itself before our handler of SIGTERM. In a training of several
        processes it then waits, inside the handler, for the others, which never answer.
        """
        for number in self._previous:
            signal.signal(number, self._on_signal)

    def shared(self) -> bool:
        """Whether any process was asked to stop: then all are, by the same signal.

        All processes must call it after the same step.
        """
        number = largest(self._first if self.requested else 0)
        if number:
            self.requested, self._first = True, number
        return self.requested

    def as_exception(self) -> BaseException:
        """What ends the program as the signal would: Ctrl-C's, or exit code 143 for SIGTERM."""
        if self._first == signal.SIGTERM:
            return SystemExit(128 + signal.SIGTERM)
        return KeyboardInterrupt()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            return
        self.requested, self._first = True, number
