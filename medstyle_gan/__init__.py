"""Unpaired style translation of medical scans, from training to whole volumes.

Example:
    >>> import medstyle_gan
    >>> folder = medstyle_gan.export("runs/t1_to_t2", "t1_to_t2_bundle")
    >>> translator = medstyle_gan.Translator.load(folder, device="cpu")
    >>> translator("patient.nii.gz").geometry.shape
    (32, 32, 8)
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medstyle_gan.evaluation.evaluating import evaluate as evaluate
    from medstyle_gan.inference import TranslateStyled as TranslateStyled
    from medstyle_gan.inference import Translator as Translator
    from medstyle_gan.inference import stylize as stylize
    from medstyle_gan.training import export as export
    from medstyle_gan.training import train as train

try:
    __version__ = version("medstyle-gan")
except PackageNotFoundError:  # running from a source tree that was never installed
    __version__ = "0+source"

# Resolved on first use, so that `medstyle --help` never pays for importing torch.
_LAZY = {
    "TranslateStyled": "medstyle_gan.inference",
    "Translator": "medstyle_gan.inference",
    "evaluate": "medstyle_gan.evaluation.evaluating",
    "export": "medstyle_gan.training",
    "stylize": "medstyle_gan.inference",
    "train": "medstyle_gan.training",
}

__all__ = [
    "TranslateStyled",
    "Translator",
    "__version__",
    "evaluate",
    "export",
    "stylize",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
