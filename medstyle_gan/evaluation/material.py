"""What an evaluation is made on: the user's files as subjects, style volumes and references."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np
import yaml

from medstyle_gan.config import Config, load_config
from medstyle_gan.config.data_section import DataConfig
from medstyle_gan.data.cache import prepare_collection
from medstyle_gan.data.cached_foreground import array_and_foreground
from medstyle_gan.data.cached_volume import CachedCollection, CachedVolume
from medstyle_gan.data.collection import find_collection
from medstyle_gan.errors import UserError
from medstyle_gan.evaluation.chapter import Array, Mask
from medstyle_gan.evaluation.context import RealVolume
from medstyle_gan.evaluation.pairs import find_pairs
from medstyle_gan.evaluation.references import (
    StyleIntensities,
    foreground_quantiles,
    style_intensities,
)
from medstyle_gan.evaluation.subjects import Subjects, pair_subjects, scan_subjects

Paths = str | Sequence[str]


@dataclass(frozen=True)
class Material:
    """What there is to evaluate on.

    Attributes:
        subjects: held-out scans, with their truth where there are pairs.
        style: real style volumes.
        training_style: those that the model was trained on, where they can be found.
        intensities: what references are fitted to.
        notes: sentences for the report.
        facts: counts and sums for the report's provenance, without names and paths.
        style_is_truth: whether the style volumes are the true ones of the subjects themselves.
    """

    subjects: Subjects
    style: tuple[RealVolume, ...]
    training_style: tuple[RealVolume, ...]
    intensities: StyleIntensities
    notes: tuple[str, ...]
    facts: Mapping[str, Any]
    style_is_truth: bool = False


@dataclass(frozen=True)
class RunRecord:
    """What a run's folder tells beside its model; all empty where the model is no run.

    Attributes:
        style: the style collection that it was trained on, as it was given.
        metrics: rows of `metrics.csv`.
        facts: `run.yaml`.
    """

    style: Paths | None
    metrics: tuple[Mapping[str, float], ...]
    facts: Mapping[str, object]


def read_run(model: str | Path) -> RunRecord:
    """Reads what stands beside a run's model.

    Raises:
        UserError: its config has mistakes.
    """
    folder = Path(model)
    config, metrics, record = (folder / n for n in ("config.yaml", "metrics.csv", "run.yaml"))
    if not (config.is_file() and (folder / "model").is_dir()):
        return RunRecord(None, (), {})
    rows: list[Mapping[str, float]] = []
    if metrics.is_file():
        with metrics.open(newline="") as file:
            rows = [
                {name: float(value) for name, value in row.items() if name and value}
                for row in csv.DictReader(file)
            ]
    facts = yaml.safe_load(record.read_text("utf-8")) if record.is_file() else {}
    return RunRecord(load_config(config).data.style, tuple(rows), facts or {})


def gather(
    config: Config,
    run: RunRecord,
    pairs: str | Path | None,
    scans: Paths | None,
    style: Paths | None,
    show_names: bool = False,
) -> Material:
    """Finds and prepares everything.

    Args:
        config: the model's settings, and of the user's the names of a pair's files.
        run: what the model's run tells.
        pairs: folder of registered pairs, or
        scans: a collection of scans.
        style: a style collection; without one that of the run, and where that is not to be
            found, the true volumes of the pairs.
        show_names: see `pair_subjects`.

    Raises:
        UserError: neither pairs nor scans are given, or both; no style collection is there; a
            file is unusable.
    """
    data = config.data
    if (pairs is None) == (scans is None):
        raise UserError("give --pairs DIR, or --scans A/ --style B/ (one of both)")
    notes: list[str] = []
    if pairs is not None:
        folder = data.pairs.model_copy(update={"folder": str(pairs)})
        subjects = pair_subjects(find_pairs(folder), data, show_names)
    else:
        assert scans is not None
        found = find_collection(scans, data.subject_pattern)
        subjects = scan_subjects(found, data, show_names)
    if (own := len(subjects) - subjects.masks_given) > 0:
        notes.append(
            f"{own} of {len(subjects)} subjects bring no mask: the body was found in their scan "
            "(a threshold after Otsu, the largest component, holes filled)."
        )
    training = _prepared_if_there(run.style, data) if run.style else None
    prepared = _prepared(style, data) if style else training
    if prepared is None and pairs is None:
        raise UserError(
            "no style collection: give --style B/ (this model's own is not recorded, or no longer "
            "where it was)"
        )
    if prepared is not None:
        intensities = style_intensities(prepared, data.plane)
        volumes = _real_volumes(prepared, data.plane, show_names)
        if not style:
            notes.append("The style collection is the one that the model was trained on.")
        facts = {"volumes": len(prepared), "contents": prepared.fingerprint()["contents"]}
    else:
        intensities, volumes = _of_truths(subjects)
        notes.append(
            "No style collection is given and the model's own is not to be found: references are "
            "fitted to the true volumes of the pairs themselves, which favours the references."
        )
        facts = {"volumes": len(volumes), "contents": "the truth of the pairs"}
    return Material(
        subjects=subjects,
        style=volumes,
        training_style=() if training is None else _real_volumes(training, data.plane, show_names),
        intensities=intensities,
        notes=tuple(notes),
        facts={
            "subjects": len(subjects),
            "paired": pairs is not None,
            "masks_given": subjects.masks_given,
            "style": facts,
        },
        style_is_truth=prepared is None,
    )


def _prepared(style: Paths, data: DataConfig) -> CachedCollection:
    collection = prepare_collection(find_collection(style, data.subject_pattern), data, "style")
    if collection.channels != 1:
        raise UserError(
            f"{style}: this style collection is in colour; medstyle evaluate takes grey ones"
        )
    return collection


def _prepared_if_there(style: Paths, data: DataConfig) -> CachedCollection | None:
    """The collection that a run names, None where the data has gone since."""
    try:
        return _prepared(style, data)
    except UserError:
        return None


@dataclass(frozen=True)
class _OfCollection:
    """Loads a prepared volume; picklable."""

    volume: CachedVolume
    plane: str

    def __call__(self) -> tuple[Array, Mask]:
        return array_and_foreground(self.volume, self.plane)


@dataclass(frozen=True)
class _OfSubject:
    """Loads a subject's scan or truth; picklable."""

    subjects: Subjects
    index: int
    truth: bool

    def __call__(self) -> tuple[Array, Mask]:
        subject = self.subjects[self.index]
        if not self.truth:
            return subject.scan, subject.mask
        assert subject.truth is not None
        return subject.truth, subject.mask


class SubjectScans(Sequence[RealVolume]):
    """The subjects' scans as real volumes, read when they are asked for; picklable.

    Args:
        subjects: whose.
    """

    def __init__(self, subjects: Subjects) -> None:
        self._subjects = subjects

    def __len__(self) -> int:
        return len(self._subjects)

    @overload
    def __getitem__(self, index: int) -> RealVolume: ...
    @overload
    def __getitem__(self, index: slice) -> SubjectScans: ...
    def __getitem__(self, index: int | slice) -> RealVolume | SubjectScans:
        if isinstance(index, slice):
            return SubjectScans(self._subjects[index])
        subject = self._subjects[index]
        return RealVolume(
            subject.name, subject.spacing, _OfSubject(self._subjects, index, truth=False)
        )


def _real_volumes(
    collection: CachedCollection, plane: str, show_names: bool
) -> tuple[RealVolume, ...]:
    numbers = {subject: n for n, subject in enumerate(collection.subjects, start=1)}
    return tuple(
        RealVolume(
            v.item.subject if show_names else f"style subject {numbers[v.item.subject]}",
            v.spacing,
            _OfCollection(v, plane),
        )
        for v in collection
    )


def _of_truths(subjects: Subjects) -> tuple[StyleIntensities, tuple[RealVolume, ...]]:
    quantiles, volumes = [], []
    for index, subject in enumerate(subjects):
        assert subject.truth is not None
        quantiles.append(foreground_quantiles(subject.truth, subject.mask))
        load = _OfSubject(subjects, index, truth=True)
        volumes.append(RealVolume(subject.name, subject.spacing, load))
    return StyleIntensities(np.stack(quantiles)), tuple(volumes)
