"""The words that every room uses for the two domains and the ways between them."""

from __future__ import annotations

from typing import Literal

from medstyle_gan.errors import UserError

Domain = Literal["scan", "style"]
Direction = Literal["scan_to_style", "style_to_scan"]

DIRECTIONS: tuple[Direction, Direction] = ("scan_to_style", "style_to_scan")
DOMAINS: dict[Direction, tuple[Domain, Domain]] = {
    "scan_to_style": ("scan", "style"),
    "style_to_scan": ("style", "scan"),
}
OTHER: dict[Domain, Domain] = {"scan": "style", "style": "scan"}
INTO: dict[Domain, Direction] = {"style": "scan_to_style", "scan": "style_to_scan"}


def domains_of(direction: str) -> tuple[Domain, Domain]:
    """The domains that a direction leads from and to.

    Raises:
        UserError: there is no such direction.
    """
    for known, domains in DOMAINS.items():
        if direction == known:
            return domains
    raise UserError(
        f"direction {direction!r}: there are two, {DIRECTIONS[0]} and {DIRECTIONS[1]}; give one of "
        "them"
    )
