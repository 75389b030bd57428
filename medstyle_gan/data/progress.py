"""How far a command has come with the files of its collections."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any, TextIO

from tqdm import tqdm


class FilesProgress:
    """Files of both collections that are gone through; nothing where all of it takes no time.

    Args:
        doing: What is done with them, such as "preparing".
        stream: Where it goes (None: stderr); what is not a terminal gets plain lines.
        line_every: Seconds between plain lines.
        delay: Seconds before a terminal's bar is first drawn.
        clock: Seconds, monotonic.
    """

    def __init__(
        self,
        doing: str,
        stream: TextIO | None = None,
        line_every: float = 30.0,
        delay: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._doing = doing
        self._stream = sys.stderr if stream is None else stream
        self._every = line_every
        self._delay = delay
        self._clock = clock
        self._terminal = self._stream.isatty()
        self._shown = clock()
        self._bar: tqdm[Any] | None = None

    def __enter__(self) -> FilesProgress:
        return self

    def __exit__(self, *error: object) -> None:
        self._close()

    def show(self, domain: str, done: int, total: int) -> None:
        """Files (or other work) done and in all of a domain; each domain begins anew."""
        if not self._terminal:
            if self._clock() - self._shown >= self._every:
                self._stream.write(f"{self._doing} {domain}: {done}/{total}\n")
                self._stream.flush()
                self._shown = self._clock()
            return
        if self._bar is None:
            self._bar = tqdm(
                total=total,
                desc=f"{self._doing} {domain}",
                unit="",
                file=self._stream,
                dynamic_ncols=True,
                delay=self._delay,
                leave=False,
            )
        self._bar.update(done - self._bar.n)
        if done == total:
            self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
