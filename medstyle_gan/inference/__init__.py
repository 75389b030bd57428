"""Whole volumes through a trained model: bundle, translator, and many files."""

from __future__ import annotations

from medstyle_gan.inference.archive.folder_evaluator import FolderEvaluator
from medstyle_gan.inference.archive.planning import plan_translation
from medstyle_gan.inference.archive.running import Outcome, run_translation, translate_files
from medstyle_gan.inference.bundles.bundle import (
    Bundle,
    describe_collections,
    joined_state,
    model_hash,
    without_local_paths,
)
from medstyle_gan.inference.bundles.bundle_files import find_bundle, load_bundle, save_bundle
from medstyle_gan.inference.bundles.card import describe_model, format_card
from medstyle_gan.inference.bundles.exporting import BundleFormat, export_bundle
from medstyle_gan.inference.outputs.job import Job
from medstyle_gan.inference.scope import ScopeReport
from medstyle_gan.inference.stylize_outputs import plan_outputs, save_stylized
from medstyle_gan.inference.stylizing import Stylized, stylize
from medstyle_gan.inference.transforms import TranslateStyled
from medstyle_gan.inference.translation import ClippedVoxels, Translation
from medstyle_gan.inference.translator import Translator

__all__ = [
    "Bundle",
    "BundleFormat",
    "ClippedVoxels",
    "FolderEvaluator",
    "Job",
    "Outcome",
    "ScopeReport",
    "Stylized",
    "TranslateStyled",
    "Translation",
    "Translator",
    "describe_collections",
    "describe_model",
    "export_bundle",
    "find_bundle",
    "format_card",
    "joined_state",
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
