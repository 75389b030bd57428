"""Lengths of time as people write them: `90m`, `12h`, `3d`, `12:30:00`."""

from __future__ import annotations

import re

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_WITH_UNIT = re.compile(r"(\d+(?:\.\d+)?)([smhd])")
_CLOCK = re.compile(r"(?:(\d+)-)?(\d+):([0-5]\d):([0-5]\d)")


def seconds_in(text: str) -> float:
    """The length of a time (seconds).

    Args:
        text: a number with its unit (`45s`, `90m`, `12h`, `3d`), `HH:MM:SS`, or SLURM's
            `D-HH:MM:SS`.

    Raises:
        ValueError: for anything else, and for no time at all.
    """
    if match := _WITH_UNIT.fullmatch(text):
        seconds = float(match[1]) * _UNITS[match[2]]
    elif match := _CLOCK.fullmatch(text):
        days, hours, minutes, rest = (int(part or 0) for part in match.groups())
        seconds = ((days * 24 + hours) * 60 + minutes) * 60.0 + rest
    else:
        raise ValueError(
            f"{text!r} is no length of time; write it like 90m, 12h, 3d or 12:30:00 (HH:MM:SS)"
        )
    if seconds <= 0:
        raise ValueError(f"{text!r} is no time at all; leave it out for no limit")
    return seconds
