"""The one exception for mistakes that the user can mend; `cli/` turns it into exit code 2."""

from __future__ import annotations


class UserError(Exception):
    """A mistake in what the user gave: says what is wrong, where, and what to do.

    Raised where the mistake is noticed and caught once, in `cli/`, which prints the
    message without a traceback and exits with code 2.
    """
