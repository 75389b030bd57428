"""The words that every room uses for the two domains."""

from __future__ import annotations

from typing import Literal

Domain = Literal["scan", "style"]
