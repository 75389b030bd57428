"""Are lesions invented or erased? The chapter that decides whether a translator may be used."""

from __future__ import annotations

from medstyle_gan.evaluation.hallucination.agreement import concordance, regional_means
from medstyle_gan.evaluation.hallucination.blobs import Blob, draw_blobs, insert
from medstyle_gan.evaluation.hallucination.chapter_run import run
from medstyle_gan.evaluation.hallucination.expected_mapping import expected_translation
from medstyle_gan.evaluation.hallucination.false_lesions import false_lesions
from medstyle_gan.evaluation.hallucination.given_lesions import (
    detector_recall,
    lesion_contrasts,
    segmented_recall,
)
from medstyle_gan.evaluation.hallucination.insertion import (
    Outcome,
    Trial,
    insertion_trials,
    outcomes,
    recall,
    removal_of_blobs,
    removal_of_lesions,
)
from medstyle_gan.evaluation.hallucination.memorisation import (
    copied_share,
    held_out_baseline,
    looks_of,
    nearest,
)
from medstyle_gan.evaluation.hallucination.segmenter import Segmenter, load_segmenter
from medstyle_gan.evaluation.hallucination.site_classifier import cross_validated_accuracy
from medstyle_gan.evaluation.hallucination.task import overlaps

__all__ = [
    "Blob",
    "Outcome",
    "Segmenter",
    "Trial",
    "concordance",
    "copied_share",
    "cross_validated_accuracy",
    "detector_recall",
    "draw_blobs",
    "expected_translation",
    "false_lesions",
    "held_out_baseline",
    "insert",
    "insertion_trials",
    "lesion_contrasts",
    "load_segmenter",
    "looks_of",
    "nearest",
    "outcomes",
    "overlaps",
    "recall",
    "regional_means",
    "removal_of_blobs",
    "removal_of_lesions",
    "run",
    "segmented_recall",
]
