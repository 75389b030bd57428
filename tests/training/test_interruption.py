from __future__ import annotations

import signal

import pytest

from medstyle_gan.training.interruption import Interruption, Reason, ended_at_once

HANDLED = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


@pytest.mark.parametrize(
    ("number", "reason", "error", "code"),
    [
        (signal.SIGINT, Reason.CTRL_C, KeyboardInterrupt, None),
        (signal.SIGTERM, Reason.TERMINATED, SystemExit, 143),
        (signal.SIGUSR1, Reason.WARNED, SystemExit, 75),
    ],
)
def test_a_signal_is_noted_and_told_at_the_end(
    number: int, reason: Reason, error: type[BaseException], code: int | None
) -> None:
    with Interruption() as interruption:
        assert interruption.noted is Reason.NONE
        signal.raise_signal(number)
        signal.raise_signal(signal.SIGUSR1)  # asks for nothing new
        assert interruption.noted is reason
    raised = interruption.as_exception()
    assert type(raised) is error
    assert getattr(raised, "code", None) == code


def test_a_second_ctrl_c_raises() -> None:
    with Interruption():
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_sigterm_after_the_warning_counts() -> None:
    with Interruption() as interruption:
        signal.raise_signal(signal.SIGUSR1)
        signal.raise_signal(signal.SIGTERM)
    assert interruption.noted is Reason.TERMINATED


def test_handlers_are_put_back() -> None:
    before = [signal.getsignal(number) for number in HANDLED]
    with Interruption():
        assert all(signal.getsignal(number) not in before for number in HANDLED)
    assert [signal.getsignal(number) for number in HANDLED] == before


def test_the_time_is_over_at_the_deadline_and_a_signal_counts_more() -> None:
    now = 10.0
    with Interruption(deadline=12.0, clock=lambda: now) as interruption:
        assert interruption.noted is Reason.NONE
        now = 12.0
        assert interruption.noted is Reason.TIME_IS_OVER
        assert getattr(interruption.as_exception(), "code", None) == 75
        signal.raise_signal(signal.SIGTERM)
        assert interruption.noted is Reason.TERMINATED


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGUSR1, 75)])
def test_where_no_step_is_under_way_a_signal_ends_at_once(number: int, code: int) -> None:
    before = [signal.getsignal(number) for number in HANDLED]
    lines: list[str] = []
    interruption = Interruption()
    with ended_at_once(lines.append), interruption:
        signal.raise_signal(number)  # in a step: noted
    assert interruption.noted is not Reason.NONE
    assert lines == []
    with pytest.raises(SystemExit) as caught, ended_at_once(lines.append):
        signal.raise_signal(number)
    assert caught.value.code == code
    assert lines == ["stopped while no step was under way: all that was written stays"]
    assert [signal.getsignal(number) for number in HANDLED] == before


def test_other_exits_say_nothing_of_signals() -> None:
    lines: list[str] = []
    with pytest.raises(SystemExit), ended_at_once(lines.append):
        raise SystemExit(143)
    assert lines == []
