from __future__ import annotations

import signal

import pytest

from medstyle_gan.training.interruption import Interruption


@pytest.mark.parametrize(
    ("number", "error", "code"),
    [(signal.SIGINT, KeyboardInterrupt, None), (signal.SIGTERM, SystemExit, 143)],
)
def test_a_signal_is_noted_and_told_at_the_end(
    number: int, error: type[BaseException], code: int | None
) -> None:
    with Interruption() as interruption:
        assert not interruption.requested
        signal.raise_signal(number)
        signal.raise_signal(signal.SIGTERM)  # asks for nothing new
        assert interruption.requested
    raised = interruption.as_exception()
    assert type(raised) is error
    assert getattr(raised, "code", None) == code


def test_a_second_ctrl_c_raises() -> None:
    with Interruption():
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_handlers_are_put_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with Interruption():
        assert signal.getsignal(signal.SIGTERM) not in before
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
