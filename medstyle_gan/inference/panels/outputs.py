"""Where a teaching panel goes, and the sidecar beside it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medstyle_gan.config import Config
from medstyle_gan.errors import UserError
from medstyle_gan.inference.bundles.bundle import package_versions
from medstyle_gan.inference.outputs.sidecar import NOTE, refuse_other_json, write_sidecar
from medstyle_gan.inference.panels.figure import draw_panel
from medstyle_gan.inference.panels.inputs import PanelImages
from medstyle_gan.inference.panels.page import write_page
from medstyle_gan.inference.panels.panel import Panel
from medstyle_gan.volumes import atomic_file, ensure_writable_folder

PANEL_SUFFIXES = (".png", ".pdf", ".html")
_NAME = "panel"  # in a folder; a scan's own name may be the patient's


def plan_panel(
    out: str | Path, config: Config, overwrite: bool = False, inputs: Sequence[str | Path] = ()
) -> tuple[Path, ...]:
    """Decide and check the files before any work is done.

    Args:
        out: a file ending in .png, .pdf or .html, or a folder, where `panel.formats` are written.
        config: its `panel` section is used.
        overwrite: whether files that exist may be replaced.
        inputs: files that must stay.

    Returns:
        The panel's files; the sidecar's name is theirs with `.json`.

    Raises:
        UserError: something is there already, or the folder cannot be written to.
    """
    out = Path(out)
    if not out.is_dir() and out.suffix:
        if out.suffix.lower() not in PANEL_SUFFIXES:
            raise UserError(
                f"{out}: a panel is written as {', '.join(PANEL_SUFFIXES)}; change the file's "
                "ending, or give a folder"
            )
        files: tuple[Path, ...] = (out,)
    elif out.exists() and not out.is_dir():
        raise UserError(f"{out}: is a file, not a folder, and no .png, .pdf or .html; change -o")
    else:
        files = tuple(out / f"{_NAME}.{kind}" for kind in dict.fromkeys(config.panel.formats))
    kept = {os.path.realpath(path) for path in inputs}
    for path in (*files, sidecar_of(files)):
        if os.path.realpath(path) in kept:
            raise UserError(f"{path}: this output would replace an input; choose another with -o")
        if path.exists() and not overwrite:
            raise UserError(f"{path}: exists already; choose another -o, or --overwrite it")
    refuse_other_json(sidecar_of(files))
    ensure_writable_folder(files[0].parent)
    return files


def save_panel(panel: Panel, images: PanelImages, files: Sequence[Path]) -> None:
    """Write a panel in each format, and its sidecar.

    Raises:
        UserError: a file cannot be written.
    """
    write_sidecar(sidecar_of(files), _facts(panel, images))
    for path in files:
        kind = path.suffix.lower()
        if kind == ".html":
            made = write_page(panel).encode()
        else:
            made = draw_panel(panel, "pdf" if kind == ".pdf" else "png")
        with atomic_file(path) as file:
            file.write(made)


def sidecar_of(files: Sequence[Path]) -> Path:
    """The sidecar of a panel's files."""
    return files[0].with_suffix(".json")


def _facts(panel: Panel, images: PanelImages) -> dict[str, Any]:
    return {
        "synthetic": True,
        "note": NOTE,
        "panel": {
            "captions": list(panel.captions),
            "slices": None if images.plane is None else images.numbers,
            "plane": images.plane,
            "labels": [name for name, _ in panel.legend],
        },
        "marked": panel.marked,
        "versions": package_versions(),
    }
