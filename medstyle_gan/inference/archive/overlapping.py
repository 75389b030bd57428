"""Several files at work at once in threads, each from its reading to its writing.

Decompression, compression and torch let other threads run meanwhile; the network takes one batch
at a time (`arithmetic`), so that its memory does not grow with the threads.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from typing import TypeVar

T = TypeVar("T", bound=Hashable)
R = TypeVar("R")


class Shares:
    """How much of the files at work is done, over all threads; also what stops them.

    Args:
        listener: called with the sum of the shares; from one thread at a time.
    """

    def __init__(self, listener: Callable[[float], None] | None) -> None:
        self._listener = listener
        self._done: dict[Hashable, float] = {}
        self._lock = threading.Lock()
        self._stopped = False

    def tell(self, job: Hashable, share: float) -> None:
        """Note the share of a file that is done.

        Raises:
            Stopped: nobody waits for the file any more.
        """
        if self._stopped:
            raise Stopped
        with self._lock:
            self._done[job] = share
            if self._listener is not None:
                self._listener(sum(self._done.values()))

    def end(self, job: Hashable) -> None:
        """Leave a file out from now on: it is done."""
        with self._lock:
            self._done.pop(job, None)

    def stop(self) -> None:
        """Have every file given up at its next step."""
        self._stopped = True


class Stopped(BaseException):
    """A thread's file was given up; like Ctrl-C, it is no failure of the file."""


def overlapped(
    jobs: Sequence[T], work: Callable[[T], R], workers: int, shares: Shares
) -> Iterator[R]:
    """Do jobs in threads, with no more begun than there are threads.

    Args:
        jobs: what to do.
        work: does one; what it raises ends all.
        workers: threads; with one, this thread does the work, in order.
        shares: is told what ends, and stopped when the iteration is given up.

    Yields:
        results, as they come.
    """
    if workers <= 1 or len(jobs) <= 1:
        for one in jobs:
            result = work(one)
            shares.end(one)
            yield result
        return
    waiting = iter(jobs)
    with ThreadPoolExecutor(workers, thread_name_prefix="medstyle") as pool:
        running: dict[Future[R], T] = {}
        try:
            while True:
                for job in islice(waiting, workers - len(running)):
                    running[pool.submit(work, job)] = job
                if not running:
                    return
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    shares.end(running.pop(future))
                    yield future.result()
        finally:
            shares.stop()
