from __future__ import annotations

import signal
import threading

from medstyle_gan.signals import answered


def test_signals_are_answered_inside_alone() -> None:
    told: list[int] = []
    numbers = [signal.SIGUSR1, signal.SIGTERM]
    before = [signal.getsignal(number) for number in numbers]
    with answered(numbers, lambda number, frame: told.append(number)):
        signal.raise_signal(signal.SIGUSR1)
    assert told == [signal.SIGUSR1]
    assert [signal.getsignal(number) for number in numbers] == before


def test_another_thread_sets_nothing() -> None:
    before, inside = signal.getsignal(signal.SIGTERM), []

    def look() -> None:
        with answered([signal.SIGTERM], lambda number, frame: None):
            inside.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert inside == [before]
