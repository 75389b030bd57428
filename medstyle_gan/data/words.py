"""The words that every room uses for the two domains and the ways between them."""

from __future__ import annotations

from typing import Literal

Domain = Literal["scan", "style"]
Direction = Literal["scan_to_style", "style_to_scan"]

DIRECTIONS: tuple[Direction, Direction] = ("scan_to_style", "style_to_scan")
DOMAINS: dict[Direction, tuple[Domain, Domain]] = {
    "scan_to_style": ("scan", "style"),
    "style_to_scan": ("style", "scan"),
}
OTHER: dict[Domain, Domain] = {"scan": "style", "style": "scan"}
INTO: dict[Domain, Direction] = {"style": "scan_to_style", "scan": "style_to_scan"}
