"""Which of the processes of a training this one is."""

from __future__ import annotations

from lightning.pytorch.utilities import rank_zero_only


def is_first_process() -> bool:
    """Whether this process writes the files and speaks to the user."""
    # Lightning sets the attribute from the launcher's environment when it is imported.
    return int(getattr(rank_zero_only, "rank", 0)) == 0
