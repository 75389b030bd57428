from __future__ import annotations

import io
import re
from typing import Any

import lightning as L
import pytest

from medstyle_gan.training.progress import (
    TrainingProgress,
    format_seconds,
    shown_throughput,
)
from medstyle_gan.training.throughput import Throughput
from tests.training.dummy_method import DummyMethod, fit


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class TickingClock:
    """Ten seconds pass at each step."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Tick(L.Callback):
    def __init__(self, clock: TickingClock) -> None:
        self.clock = clock

    def on_train_batch_start(self, *args: Any) -> None:
        self.clock.now += 10.0


def plain_lines(method: DummyMethod, steps: int, **options: Any) -> list[str]:
    stream, clock = io.StringIO(), TickingClock()
    progress = TrainingProgress(steps, stream, clock=clock, **options)
    fit(method, steps, [Tick(clock), progress])
    return stream.getvalue().splitlines()


def test_terminal_gets_one_line_with_losses_rate_and_time_left() -> None:
    stream = Terminal()
    fit(DummyMethod(), 20, [TrainingProgress(20, stream, redraw_every=0.0)])
    text = stream.getvalue()

    assert text.count("\n") == 1  # the end: everything before is the same line drawn again
    last = text.rstrip("\n").split("\r")[-1]
    assert "step 20/20" in last
    assert "generator 200.000  discriminator 40.000  cycle 20.000" in last
    assert re.search(r"[\d.]+ steps/s, [\d:]+ left", last)


def test_terminal_is_redrawn_only_when_it_is_time() -> None:
    stream = Terminal()
    fit(DummyMethod(), 50, [TrainingProgress(50, stream, redraw_every=1e9)])

    assert "step 50/50" in stream.getvalue()
    assert stream.getvalue().count("\r") < 10


def test_no_terminal_gets_a_line_each_half_minute_and_the_last_state() -> None:
    lines = plain_lines(DummyMethod(), 8)

    assert [line.split("  ")[0] for line in lines] == ["step 3/8", "step 6/8", "step 8/8"]
    # Means since the line before: steps 4…6, at a step each 10 s.
    assert lines[1] == (
        "step 6/8  generator 50.000  discriminator 10.000  cycle 5.000  0.10 steps/s, 20 s left"
    )


def test_resumed_training_begins_where_it_is_and_rates_only_its_own_steps() -> None:
    lines = plain_lines(DummyMethod(start_step=100), 106)

    assert lines[0].startswith("step 103/106")
    assert "0.10 steps/s" in lines[0]

    stream = Terminal()
    fit(DummyMethod(start_step=100), 106, [TrainingProgress(106, stream)])
    assert "step 100/106" in stream.getvalue()


@pytest.mark.parametrize(("wait", "shown"), [(0.4, ""), (2.5, "waits for data 20%")])
def test_the_wait_for_data_is_shown_where_it_is_worth_it(wait: float, shown: str) -> None:
    stream, clock = io.StringIO(), TickingClock()
    throughput = Throughput(clock)
    progress = TrainingProgress(9, stream, clock=clock, throughput=throughput)

    def read() -> None:
        clock.now += wait

    fit(DummyMethod(), 9, [throughput, Tick(clock), progress], read=read)

    lines = stream.getvalue().splitlines()
    assert all(("waits for data" in line) == bool(shown) for line in lines)
    assert shown in lines[-1]


def test_the_wait_that_is_shown_is_the_latest() -> None:
    stream, clock = io.StringIO(), TickingClock()
    throughput = Throughput(clock)
    progress = TrainingProgress(30, stream, clock=clock, throughput=throughput)
    reads = []

    def read() -> None:
        reads.append(1)
        clock.now += 30.0 if len(reads) <= 9 else 0.0

    fit(DummyMethod(), 30, [throughput, Tick(clock), progress], read=read)

    lines = stream.getvalue().splitlines()
    assert "waits for data 75%" in lines[1]
    assert "waits" not in lines[-1]


FIGURES = {
    "samples_per_second": 2.125,
    "data_wait_share": 0.01,
    "step_share/generators": 0.612,
    "step_share/discriminators": 0.2,
    "step_share/vgg": 0.1,
    "peak_memory_mib": 1945.6,
    "watts": 31.4,
}


@pytest.mark.parametrize(
    ("left_out", "text"),
    [
        ("data", "2.12 samples/s, generators/discriminators/vgg 61/20/10%, 1.9 GiB, 31 W"),
        ("step_share", "2.12 samples/s, 1.9 GiB, 31 W"),
        ("watts", "2.12 samples/s, generators/discriminators/vgg 61/20/10%, 1.9 GiB"),
        ("", ""),
    ],
)
def test_figures_are_shown_as_far_as_they_are_known(left_out: str, text: str) -> None:
    figures = {name: value for name, value in FIGURES.items() if not name.startswith(left_out)}
    assert shown_throughput(figures) == text


@pytest.mark.parametrize("terminal", [True, False])
def test_what_was_measured_last_stands_at_the_end_of_the_line(terminal: bool) -> None:
    stream, clock = Terminal() if terminal else io.StringIO(), TickingClock()
    throughput = Throughput(clock, energy=lambda: 25 * clock.now)
    progress = TrainingProgress(8, stream, 30.0, 0.0, clock, throughput)

    class Row(L.Callback):
        def on_train_batch_end(self, *args: Any) -> None:
            throughput.measure()

    fit(DummyMethod(), 8, [throughput, Tick(clock), Row(), progress])

    last = stream.getvalue().rstrip("\n").splitlines()[-1].split("\r")[-1]
    assert re.search(r"left, 0\.[12] samples/s, [\d.]+ GiB, 25 W", last)


def test_lightnings_own_bar_is_replaced(capfd: pytest.CaptureFixture[str]) -> None:
    fit(DummyMethod(), 3, [TrainingProgress(3, io.StringIO())])

    assert "Epoch" not in "".join(capfd.readouterr())


def test_failure_ends_the_line_so_that_its_message_stands_alone() -> None:
    stream = Terminal()
    with pytest.raises(RuntimeError, match="failed"):
        fit(DummyMethod(fail_at=5), 10, [TrainingProgress(10, stream)])

    assert stream.getvalue().endswith("\n")


def test_disabled_progress_is_silent() -> None:
    stream = Terminal()
    progress = TrainingProgress(4, stream)
    progress.disable()
    fit(DummyMethod(), 4, [progress])

    assert stream.getvalue() == ""


def test_message_does_not_tear_the_bar() -> None:
    stream = Terminal()
    progress = TrainingProgress(4, stream, redraw_every=0.0)

    class Say(L.Callback):
        def on_train_batch_end(self, *args: Any) -> None:
            progress.print("a best model")

    fit(DummyMethod(), 4, [progress, Say()])

    assert stream.getvalue().count("a best model\n") == 4


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "0 s"), (59.7, "1 min 00 s"), (200, "3 min 20 s"), (7500, "2 h 05 min")],
)
def test_durations_are_told_in_words(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text
