from __future__ import annotations

import pytest

from medstyle_gan.config import load_config
from medstyle_gan.config.durations import seconds_in
from medstyle_gan.errors import UserError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("45s", 45),
        ("90m", 5400),
        ("1.5h", 5400),
        ("3d", 259200),
        ("12:30:15", 45015),
        ("00:00:10", 10),
        ("100:00:00", 360000),
        ("1-12:00:00", 129600),
    ],
)
def test_lengths_of_time(text: str, seconds: float) -> None:
    assert seconds_in(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "90", "12:30", "1:60:00", "1:00:75", "0m", "00:00:00", "-5m", "12 h", "5w"]
)
def test_what_is_no_length_of_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"no length of time|no time at all"):
        seconds_in(text)


@pytest.mark.parametrize("text", ["12:30:15", "90m"])
def test_config_keeps_the_text_as_it_was_written(text: str) -> None:
    # YAML 1.1 would read 12:30:15 as a number of base 60.
    assert load_config(None, [f"training.max_time={text}"]).training.max_time == text


def test_config_names_the_field_of_a_wrong_one() -> None:
    with pytest.raises(UserError, match=r"training\.max_time.*90m, 12h, 3d or 12:30:00"):
        load_config(None, ["training.max_time=soon"])
