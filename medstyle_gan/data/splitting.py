"""Holding subjects out for validation, in both collections at once."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from medstyle_gan.data.collection import Collection


@dataclass(frozen=True)
class Split:
    """Both collections, parted by subject; a validation side may be empty."""

    train_scan: Collection
    train_style: Collection
    validation_scan: Collection
    validation_style: Collection


def split_by_subject(scan: Collection, style: Collection, fraction: float, seed: int) -> Split:
    """Hold out a share of each collection's subjects.

    A subject is held out of both collections or of none. Each side gives `fraction` of its
    subjects, rounded, at least one where it has three, and keeps at least one. Subjects are
    taken in an order that depends on the seed and their names alone, so that adding a
    subject disturbs the others little.

    Args:
        scan: the scans.
        style: the style collection.
        fraction: share of each side's subjects, in [0, 1).
        seed: of the order.
    """
    sides = [set(scan.subjects), set(style.subjects)]
    wanted = [_wanted(len(side), fraction) for side in sides]
    held: set[str] = set()
    order = sorted(
        sides[0] | sides[1], key=lambda s: hashlib.sha256(f"{seed}:{s}".encode()).digest()
    )
    # First the subjects that every one of their sides can spare, then, for a side that still
    # lacks some, those that also take a little more than asked from the other side.
    for spare_more in (False, True):
        for subject in order:
            taken = [len(side & held) for side in sides]
            inside = [i for i, side in enumerate(sides) if subject in side]
            lacking = [i for i in inside if taken[i] < wanted[i]]
            keeps_one = all(taken[i] + 1 < len(sides[i]) for i in inside)
            if subject in held or not lacking or not keeps_one:
                continue
            if spare_more or lacking == inside:
                held.add(subject)
    return Split(
        train_scan=_part(scan, held, keep=False),
        train_style=_part(style, held, keep=False),
        validation_scan=_part(scan, held, keep=True),
        validation_style=_part(style, held, keep=True),
    )


def _wanted(subjects: int, fraction: float) -> int:
    if fraction == 0 or subjects < 2:
        return 0
    return min(subjects - 1, max(round(fraction * subjects), 1 if subjects >= 3 else 0))


def _part(collection: Collection, subjects: set[str], keep: bool) -> Collection:
    items = tuple(item for item in collection if (item.subject in subjects) == keep)
    return Collection(items, collection.source)
