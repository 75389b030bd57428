"""A blinded reader study: can a reader tell translated slices from real ones?"""

from __future__ import annotations

from medstyle_gan.evaluation.visual_effect.reader_study.agreement import agreement
from medstyle_gan.evaluation.visual_effect.reader_study.figures import reader_figures
from medstyle_gan.evaluation.visual_effect.reader_study.reading import (
    Rating,
    ReaderStudy,
    read_reader_study,
)
from medstyle_gan.evaluation.visual_effect.reader_study.writing import (
    StudyFiles,
    write_reader_study,
)

__all__ = [
    "Rating",
    "ReaderStudy",
    "StudyFiles",
    "agreement",
    "read_reader_study",
    "reader_figures",
    "write_reader_study",
]
