"""Reader studies of the models that are evaluated: written before the work, read back into it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from medstyle_gan.errors import UserError
from medstyle_gan.evaluation.chapter import TRANSLATION, Candidate
from medstyle_gan.evaluation.context import EvaluationContext
from medstyle_gan.evaluation.material import Material
from medstyle_gan.evaluation.visual_effect.reader_study import (
    ReaderStudy,
    read_reader_study,
    write_reader_study,
)


def write_study(
    folder: Path,
    count: int,
    material: Material,
    candidates: Mapping[str, Candidate],
    context: EvaluationContext,
) -> None:
    """Writes a study of a model's translations, to be blinded by who gives it to readers.

    Args:
        folder: where to; must not exist.
        count: slices in all.
        material: what is evaluated on.
        candidates: the translation is taken.
        context: its translator, style volumes, plane and seed are.

    Raises:
        UserError: there is no style collection, or there are fewer slices than asked for.
    """
    if material.style_is_truth:
        raise UserError(
            "--reader-study: no style collection is given and the model's own is not to be found; "
            "the truth beside its translation would tell readers which is which: give --style B/"
        )
    assert context.translator is not None
    write_reader_study(
        folder,
        count,
        material.subjects,
        candidates[TRANSLATION],
        context.style,
        context.config.data.plane,
        context.seed,
        context.translator.model_hash or "",
    )


def read_studies(
    folders: Sequence[str | Path], models: Mapping[str, str]
) -> dict[str, ReaderStudy]:
    """Reads what readers said of models.

    Args:
        folders: studies that `write_study` wrote, with the readers' files in `ratings/`.
        models: hash → model, those that are evaluated.

    Returns:
        Hash → its study, for those models that have one.

    Raises:
        UserError: a study is damaged or of no such model, or two are of the same one.
    """
    found: dict[str, ReaderStudy] = {}
    read: dict[str, str | Path] = {}
    for folder in folders:
        study = read_reader_study(folder)
        key = study.model_hash
        if key not in models:
            raise UserError(
                f"--ratings {folder}: is of another model (weights {key[:12] or 'unknown'}, not "
                f"{', '.join(known[:12] for known in models)}); give the model whose report it "
                "came with"
            )
        if key in found:
            raise UserError(
                f"--ratings {folder}: is of the same model as {read[key]}; give one of both"
            )
        found[key], read[key] = study, folder
    return found
