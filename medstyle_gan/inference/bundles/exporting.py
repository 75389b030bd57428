"""A bundle written in one of the formats that others can read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from medstyle_gan.errors import UserError
from medstyle_gan.inference.bundles.bundle import Bundle
from medstyle_gan.inference.bundles.bundle_files import save_bundle
from medstyle_gan.inference.bundles.monai_bundle import save_monai_bundle
from medstyle_gan.inference.bundles.onnx_graphs import with_graphs
from medstyle_gan.volumes import atomic_folder, ensure_writable_folder

BundleFormat = Literal["safetensors", "onnx", "monai"]


def _save_onnx(bundle: Bundle, folder: Path) -> Path:
    return save_bundle(with_graphs(bundle), folder)


_FORMATS: dict[str, Callable[[Bundle, Path], Path]] = {
    "safetensors": save_bundle,
    "onnx": _save_onnx,
    "monai": save_monai_bundle,
}


def export_bundle(bundle: Bundle, folder: str | Path, format: BundleFormat) -> Path:
    """Write a bundle to a new folder, which appears whole or not at all.

    Args:
        bundle: with weights.
        folder: must not exist, or be empty.
        format: `safetensors`, `onnx` or `monai`.

    Returns:
        the folder.

    Raises:
        UserError: for a bundle of graphs, which has no weights; a folder that is in use or
            cannot be written; and `onnx` where its extra is missing.
    """
    if bundle.graphs:
        raise UserError(
            "an ONNX bundle holds no weights to export; give the run or the safetensors bundle "
            "that it was made from"
        )
    folder = Path(folder)
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise UserError(f"{folder}: exists and is not empty; choose another -o")
    ensure_writable_folder(folder.absolute().parent)
    with atomic_folder(folder) as part:
        _FORMATS[format](bundle, part)
    return folder
