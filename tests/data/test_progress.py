from __future__ import annotations

import io

from medstyle_gan.data.progress import FilesProgress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class TickingClock:
    """Time that passes only when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_files_are_a_bar_on_a_terminal() -> None:
    stream = Terminal()
    with FilesProgress("preparing", stream, delay=0.0) as progress:
        for domain, total in (("scan", 2), ("style", 3)):
            for done in range(1, total + 1):
                progress.show(domain, done, total)
    assert "preparing scan" in stream.getvalue()
    assert "preparing style" in stream.getvalue()
    assert "\n" not in stream.getvalue()  # what comes next takes the line


def test_what_takes_no_time_shows_nothing() -> None:
    for stream in (Terminal(), io.StringIO()):
        with FilesProgress("preparing", stream) as progress:
            progress.show("scan", 1, 1)
        assert stream.getvalue().strip() == ""


def test_files_are_a_line_now_and_then_elsewhere() -> None:
    stream, clock = io.StringIO(), TickingClock()
    with FilesProgress("preparing", stream, clock=clock) as progress:
        for done in range(1, 8):
            clock.now += 10.0
            progress.show("scan", done, 7)
    assert stream.getvalue().splitlines() == [
        "preparing scan: 3/7",
        "preparing scan: 6/7",
    ]
