"""Where the files of a reader study lie, and what its key holds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

FORMAT = 1
"""Of the key and of the ratings; a reader of files refuses others."""


@dataclass(frozen=True)
class StudyFiles:
    """The folder of a reader study.

    Attributes:
        root: the folder.
    """

    root: Path

    @property
    def for_readers(self) -> Path:
        """What readers are given, as a whole and nothing else."""
        return self.root / "for_readers"

    @property
    def form(self) -> Path:
        """The page that readers open."""
        return self.for_readers / "form.html"

    @property
    def images(self) -> Path:
        """The slices as PNG files."""
        return self.for_readers / "images"

    @property
    def key(self) -> Path:
        """What each slice is; not for readers."""
        return self.root / "key" / "key.json"

    @property
    def ratings(self) -> Path:
        """Where the files that readers send back are put."""
        return self.root / "ratings"
