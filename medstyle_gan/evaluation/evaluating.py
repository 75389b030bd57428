"""`evaluate`: a trained model through the chapters, to a verdict and a report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from medstyle_gan.config import Config
from medstyle_gan.config.inference_sections import InferenceConfig
from medstyle_gan.errors import UserError
from medstyle_gan.evaluation.candidates import make_candidates
from medstyle_gan.evaluation.chapter import Chapter, ChapterName
from medstyle_gan.evaluation.chapters import RUNS, run_chapters
from medstyle_gan.evaluation.context import EvaluationContext
from medstyle_gan.evaluation.hallucination import Segmenter, load_segmenter
from medstyle_gan.evaluation.material import Material, Paths, SubjectScans, gather, read_run
from medstyle_gan.evaluation.pairs import refuse_colour
from medstyle_gan.evaluation.registered_map import RegisteredMap, registered_map
from medstyle_gan.evaluation.studies import read_studies, write_study
from medstyle_gan.evaluation.thresholds import Thresholds, read_thresholds
from medstyle_gan.evaluation.verdict import ChapterVerdict, Judgement, judge, overall
from medstyle_gan.evaluation.viewing import (
    MEBIBYTE,
    SubjectVolumes,
    read_viewer,
    volumes_within,
)
from medstyle_gan.evaluation.views import SubjectViews, view_subject
from medstyle_gan.evaluation.visual_effect import feature_networks
from medstyle_gan.evaluation.visual_effect.reader_study import ReaderStudy
from medstyle_gan.inference import Translator, load_bundle
from medstyle_gan.inference.bundles.bundle import Bundle, package_versions, without_local_paths
from medstyle_gan.volumes.atomic import scratch_folder
from medstyle_gan.volumes.hashing import hash_file

Announce = Callable[[str], None]

_SHOWN = 4  # subjects in the report's montages
_HOUNSFIELD_SIGN = -200.0  # a background below can only be Hounsfield units


@dataclass(frozen=True)
class Evaluation:
    """What was found of one model.

    Attributes:
        label: what it is called in the report: `model`, or `model 1`, ... of several.
        chapters: their findings.
        verdicts: of each chapter.
        verdict: over all of them.
        views: slices of some subjects, to look at.
        notes: on the data.
        provenance: what was evaluated with what; no path, no name.
        seed: of every random choice.
        volumes: whole volumes of some subjects, where a viewer is wanted.
        viewer: its script; empty where none is wanted.
        study: a reader study, which is moved into the report; None where none is wanted.
        mark: whether translations are visibly marked in pictures and in the viewer.
    """

    label: str
    chapters: tuple[Chapter, ...]
    verdicts: tuple[ChapterVerdict, ...]
    verdict: Judgement
    views: tuple[SubjectViews, ...]
    notes: tuple[str, ...]
    provenance: Mapping[str, Any]
    seed: int = 0
    volumes: tuple[SubjectVolumes, ...] = ()
    viewer: str = ""
    study: Path | None = None
    mark: bool = True


@dataclass(frozen=True)
class Settings:
    """How an evaluation is made.

    Attributes:
        chapters: which; None for all.
        thresholds: a YAML file; None for the package's own.
        workers: processes.
        show_names: show subjects' names in the report.
        seed: of every random choice.
        quick: draw less, for a first look.
        device: as `Translator.load` takes it.
        precision: likewise.
        segmenter: the frozen task, as `hallucination.load_segmenter` takes it; None has none.
        inception: see `EvaluationContext`.
        reader_study: slices of a blinded reader study that is written into the report's folder;
            0 writes none.
        ratings: folders of earlier reader studies of these models, with what readers sent back.
        viewer: put whole volumes and NiiVue into the page.
        niivue: NiiVue's `niivue.umd.js`; None takes that of the package ipyniivue.
        viewer_limit: of these volumes' files in a page (MiB).
        mark: write SYNTHETIC into translations, in pictures and in the viewer. A reader study is
            never marked: its readers are to tell.
        registered_map: learn the registered intensity map for a model that brings none.
    """

    chapters: Sequence[ChapterName] | None = None
    thresholds: str | Path | None = None
    workers: int = 1
    show_names: bool = False
    seed: int = 0
    quick: bool = False
    device: str = "auto"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    segmenter: str | None = None
    inception: str | Path | None = None
    reader_study: int = 0
    ratings: Sequence[str | Path] = ()
    viewer: bool = False
    niivue: str | Path | None = None
    viewer_limit: float = 32.0
    mark: bool = True
    registered_map: bool = False


@dataclass(frozen=True)
class _Given:
    """What all models are evaluated on, and how they translate; see `evaluate`."""

    pairs: str | Path | None
    scans: Paths | None
    style: Paths | None
    config: Config | None
    inference: InferenceConfig | None
    segmenter: Segmenter | None


@dataclass(frozen=True)
class _Asked:
    """Of one model: what it is called, what readers said of it, where its study is written to."""

    model: str | Path
    label: str
    ratings: ReaderStudy | None
    study: Path | None


def evaluate(
    models: str | Path | Sequence[str | Path],
    out: str | Path | None = None,
    *,
    pairs: str | Path | None = None,
    scans: Paths | None = None,
    style: Paths | None = None,
    config: Config | None = None,
    inference: InferenceConfig | None = None,
    settings: Settings | None = None,
    announce: Announce | None = None,
) -> tuple[Evaluation, ...]:
    """Evaluates trained models on held-out data, and writes the report.

    Args:
        models: run folders or bundles.
        out: the report's folder, new or empty; None writes nothing.
        pairs: a folder of registered pairs, or
        scans: a collection of held-out scans.
        style: a style collection: what translations are compared with, and what references are
            fitted to. With pairs it may be left out, see `material.gather`.
        config: settings of the evaluation's own data: `data.pairs.names`,
            `data.subject_pattern`, `data.cache` and `vgg`; all else is the model's.
        inference: settings to translate with in place of the model's own.
        settings: how it is made.
        announce: takes a line about what is being done.

    Returns:
        One evaluation a model, in their order.

    Raises:
        UserError: for what is no model, unusable data, wrong thresholds, or an output that exists.
    """
    from medstyle_gan.evaluation.report import refuse_existing, write_report

    settings = settings or Settings()
    paths = [models] if isinstance(models, str | Path) else list(models)
    if not paths:
        raise UserError("no MODEL: give a run folder or a bundle")
    thresholds = read_thresholds(settings.thresholds)
    if out is not None:
        refuse_existing(Path(out))
    segmenter = None if settings.segmenter is None else load_segmenter(settings.segmenter)
    given = _Given(pairs, scans, style, config, inference, segmenter)
    viewer = read_viewer(settings.niivue) if settings.viewer else ""
    _refuse_what_nothing_uses(settings, out)
    bundles = [load_bundle(model) for model in paths]
    if "visual_effect" in (settings.chapters or RUNS):
        for bundle in bundles:
            _refuse_missing_features(_with_own_data(bundle.config, config), settings)
    hashes = {bundle.hash: str(model) for bundle, model in zip(bundles, paths, strict=True)}
    studies = read_studies(settings.ratings, hashes)
    evaluations = []
    # A reader study is written first, as it may be refused, and takes its place with the report.
    beside = Path(out).absolute().parent if out and settings.reader_study else None
    with nullcontext() if beside is None else scratch_folder(beside) as scratch:
        for number, (model, bundle) in enumerate(zip(paths, bundles, strict=True), start=1):
            label = "model" if len(paths) == 1 else f"model {number}"
            asked_of = _Asked(
                model, label, studies.get(bundle.hash), None if scratch is None else scratch / label
            )
            evaluation = _evaluate_one(bundle, asked_of, given, settings, thresholds, announce)
            evaluations.append(replace(evaluation, viewer=viewer))
        if out is not None:
            write_report(Path(out), evaluations, thresholds)
    return tuple(replace(evaluation, study=None) for evaluation in evaluations)


def _refuse_what_nothing_uses(settings: Settings, out: str | Path | None) -> None:
    given = {"--inception": settings.inception, "--ratings": settings.ratings}
    unused = [name for name, value in given.items() if value]
    if unused and "visual_effect" not in (settings.chapters or RUNS):
        raise UserError(
            f"{', '.join(unused)}: is for the chapter visual_effect; add it to --chapters"
        )
    if settings.reader_study and out is None:
        raise UserError("a reader study is written into the report's folder: give out")


def _refuse_missing_features(config: Config, settings: Settings) -> None:
    """Or missing weights would be told after the data was read and other chapters were made."""
    try:
        feature_networks(EvaluationContext(config, vgg=config.vgg, inception=settings.inception))
    except UserError as error:
        others = " ".join(name for name in RUNS if name != "visual_effect")
        raise UserError(
            f"{error}; or leave out what needs these weights: --chapters {others}"
        ) from error


def _evaluate_one(
    bundle: Bundle,
    asked: _Asked,
    given: _Given,
    settings: Settings,
    thresholds: Thresholds,
    announce: Announce | None,
) -> Evaluation:
    translator = Translator.load(bundle, settings.device, settings.precision, given.inference)
    refuse_colour(translator.channels["style"])
    if any(translator.pictures.values()):
        raise UserError(f"{asked.model}: this model translates pictures; evaluate takes volumes")
    own = _with_own_data(translator.config, given.config)
    run = read_run(asked.model)
    material = gather(own, run, given.pairs, given.scans, given.style, settings.show_names)
    context = EvaluationContext(
        config=own,
        translator=translator,
        style=material.style,
        scans=SubjectScans(material.subjects),
        training_style=material.training_style,
        style_scale=translator.scales["style"],
        hounsfield=translator.background["style"] < _HOUNSFIELD_SIGN,
        parameters=bundle.parameters,
        vgg=own.vgg,
        inception=settings.inception,
        reader_study=asked.ratings,
        segmenter=given.segmenter,
        seed=settings.seed,
        quick=settings.quick,
        workers=settings.workers,
        metrics=run.metrics,
        run_facts=run.facts,
        mark=settings.mark,
    )
    spacings = {}
    if own.inference.planes == 3:
        spacings = {s.scan.shape: s.spacing for s in material.subjects}
    if announce is not None and settings.registered_map and bundle.intensity_map is None:
        announce("registering scans with style volumes of other subjects")
    own_map = registered_map(
        bundle, asked.model, settings.registered_map, given.scans, given.style, own.data
    )
    candidates = make_candidates(translator, material.intensities, spacings, own_map.learned)
    names = settings.chapters or tuple(RUNS)
    if asked.study is not None:
        write_study(asked.study, settings.reader_study, material, candidates, context)
    chapters = run_chapters(names, material.subjects, candidates, context, announce)
    verdicts = tuple(judge(chapter, thresholds, settings.seed) for chapter in chapters)
    shown = material.subjects[:_SHOWN]
    volumes: tuple[SubjectVolumes, ...] = ()
    notes = (*material.notes, own_map.note)
    if settings.viewer:
        limit = int(settings.viewer_limit * MEBIBYTE)
        volumes = volumes_within(material.subjects, candidates, limit)
        notes += (
            f"The viewer holds {len(volumes)} of {len(material.subjects)} subjects, as many as fit "
            f"into {settings.viewer_limit:g} MiB, with one byte a voxel.",
        )
    return Evaluation(
        label=asked.label,
        chapters=chapters,
        verdicts=verdicts,
        verdict=overall(verdicts),
        views=tuple(view_subject(subject, candidates) for subject in shown),
        notes=notes,
        provenance=_provenance(context, material, settings, own_map),
        seed=settings.seed,
        volumes=volumes,
        study=asked.study,
        mark=settings.mark,
    )


def _with_own_data(model: Config, given: Config | None) -> Config:
    """The model's settings with those of the evaluation's own data."""
    if given is None:
        return model
    data = model.data.model_copy(
        update={
            "pairs": given.data.pairs,
            "subject_pattern": given.data.subject_pattern,
            "cache": given.data.cache,
        }
    )
    return model.model_copy(update={"data": data, "vgg": given.vgg})


def _provenance(
    context: EvaluationContext, material: Material, settings: Settings, own_map: RegisteredMap
) -> dict[str, Any]:
    translator = context.translator
    assert translator is not None
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "model_hash": translator.model_hash,
        "training_steps": translator.steps,
        "device": str(translator.device),
        "precision": str(translator.precision),
        "data": dict(material.facts),
        "registered_map": own_map.origin,
        "seed": settings.seed,
        "quick": settings.quick,
        "own_thresholds": settings.thresholds is not None,
        "inception": None if settings.inception is None else hash_file(Path(settings.inception)),
        "versions": package_versions(),
        "config": without_local_paths(context.config).model_dump(mode="json"),
    }
