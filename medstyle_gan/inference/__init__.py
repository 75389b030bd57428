"""Whole volumes through a trained model: bundle, translator, and many files."""

from __future__ import annotations

from medstyle_gan.inference.archive import Outcome, run_translation, translate_files
from medstyle_gan.inference.bundle import (
    Bundle,
    describe_collections,
    find_bundle,
    load_bundle,
    model_hash,
    save_bundle,
    without_local_paths,
)
from medstyle_gan.inference.planning import Job, plan_translation
from medstyle_gan.inference.stylize_outputs import plan_outputs, save_stylized
from medstyle_gan.inference.stylizing import Stylized, stylize
from medstyle_gan.inference.translation import ClippedVoxels, Translation
from medstyle_gan.inference.translator import Translator

__all__ = [
    "Bundle",
    "ClippedVoxels",
    "Job",
    "Outcome",
    "Stylized",
    "Translation",
    "Translator",
    "describe_collections",
    "find_bundle",
    "load_bundle",
    "model_hash",
    "plan_outputs",
    "plan_translation",
    "run_translation",
    "save_bundle",
    "save_stylized",
    "stylize",
    "translate_files",
    "without_local_paths",
]
