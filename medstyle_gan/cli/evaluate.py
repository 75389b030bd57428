"""`medstyle evaluate`: may this translator be used?"""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

from medstyle_gan.cli.options import (
    add_collection_arguments,
    add_config_arguments,
    add_device_argument,
    add_precision_argument,
    collection_options,
    split_overrides,
)
from medstyle_gan.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medstyle_gan.config import Config
    from medstyle_gan.evaluation.chapter import ChapterName
    from medstyle_gan.evaluation.evaluating import Evaluation
    from medstyle_gan.training.wandb_evaluation import EvaluationLogger

FORBIDDEN_VERDICT = 3
# What of the settings belongs to the evaluation; all else is the model's own.
_OWN = ("data.pairs.names.", "data.subject_pattern", "data.cache.", "vgg.weights", "inference.")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument(
        "models",
        metavar="MODEL",
        nargs="+",
        help="run folders or bundles, several to compare them; settings such as "
        "data.pairs.names.scan=T1W may stand among them",
    )
    parser.add_argument(
        "--pairs",
        metavar="DIR",
        help="registered pairs: one subfolder a subject with scan, style and optionally mask, "
        "labels and lesions",
    )
    add_collection_arguments(parser)
    parser.add_argument(
        "-o",
        "--out",
        metavar="REPORT",
        required=True,
        help="the report's folder, new or empty: report.html, report.json, subjects.csv",
    )
    parser.add_argument(
        "--chapters",
        metavar="NAME",
        nargs="+",
        help="which chapters, instead of all that there are",
    )
    parser.add_argument(
        "--fail-on",
        choices=("warn", "fail"),
        help="exit code 3 where the verdict is this or worse",
    )
    parser.add_argument(
        "--thresholds", metavar="YAML", help="what is asked, in place of the package's own file"
    )
    parser.add_argument(
        "--print-thresholds", action="store_true", help="print the package's own file and stop"
    )
    parser.add_argument(
        "--show-names",
        action="store_true",
        help="show the subjects' names in the report; else they are numbered",
    )
    parser.add_argument(
        "--registered-map",
        action="store_true",
        help="for a model without a warm start on registered scans: register some now (about 10 s "
        "each, cached) and set what an intensity map learned from them gives beside the others",
    )
    parser.add_argument(
        "--segmenter",
        metavar="TASK",
        help="a frozen segmenter of style volumes that is run on translations and references: a "
        "TorchScript (.pt) or ONNX file, or a command with {input} and {output}",
    )
    parser.add_argument(
        "--inception",
        metavar="FILE",
        help="Inception-v3's weights (a state dict of torchvision's), to tell by its features "
        "instead of VGG-19's how real translations look",
    )
    parser.add_argument(
        "--reader-study",
        metavar="N",
        type=int,
        default=0,
        help="write a blinded study of N slices, half of them real, into REPORT/reader_study",
    )
    parser.add_argument(
        "--ratings",
        metavar="STUDY",
        action="append",
        default=[],
        help="the reader_study of an earlier report of this model, with the readers' files in its "
        "ratings/; once for each of several models",
    )
    parser.add_argument(
        "--wandb",
        choices=("off", "offline", "online"),
        default="off",
        help="log the verdicts, tables and slices to the model's Weights & Biases run, without "
        "names (default: %(default)s)",
    )
    parser.add_argument(
        "--viewer",
        action="store_true",
        help="put whole volumes and NiiVue into the page (pip install 'medstyle-gan[viewer]')",
    )
    parser.add_argument(
        "--niivue",
        metavar="FILE",
        help="--viewer with this dist/niivue.umd.js of the npm package @niivue/niivue",
    )
    parser.add_argument(
        "--viewer-limit",
        metavar="MIB",
        type=float,
        default=32.0,
        help="volumes in a page (default: %(default)s)",
    )
    parser.add_argument(
        "--no-mark",
        action="store_true",
        help="no visible SYNTHETIC in the report's slices of translations (readers' studies never "
        "have one)",
    )
    parser.add_argument(
        "--workers",
        metavar="N",
        type=int,
        default=1,
        help="processes that go through the subjects (default: %(default)s)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="of every random choice (default: %(default)s)"
    )
    parser.add_argument(
        "--quick", action="store_true", help="draw less, for a first look; figures are rougher"
    )
    add_device_argument(parser)
    add_precision_argument(parser)
    add_config_arguments(parser, positionals=False)


def threads_beside(workers: int) -> dict[str, str]:
    """Environment that holds the libraries of this process to its share of the cores.

    Beside workers, threads of all cores wait for each other more than they work.

    Args:
        workers: processes that subjects are shared out to; one leaves everything as it is.

    Returns:
        Nothing where the user has set it.
    """
    if workers < 2 or "OMP_NUM_THREADS" in os.environ:
        return {}
    return {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // workers))}


def run(args: argparse.Namespace) -> int:
    """Evaluates; 0, or 3 where the verdict is one that `--fail-on` forbids.

    Raises:
        UserError: for what is no model, unusable data, and an output that exists.
    """
    # Before NumPy and torch are imported: they look once.
    os.environ.update(threads_beside(args.workers))
    from medstyle_gan.evaluation.evaluating import Settings, evaluate

    if args.print_thresholds:
        from importlib.resources import files

        print(files("medstyle_gan.evaluation").joinpath("thresholds.yaml").read_text("utf-8"))
        return 0
    models, overrides = split_overrides(args.models)
    names, more = split_overrides(args.chapters or ())  # settings may follow the last name
    args.overrides = overrides + more
    collections = collection_options(args)
    if not models:
        raise UserError("no MODEL: give a run folder or a bundle")
    if args.seed < 0:
        raise UserError(f"--seed {args.seed}: a seed must be 0 or more")
    if not args.viewer_limit > 0:
        raise UserError(f"--viewer-limit {args.viewer_limit:g}: give MiB above 0, such as 32")
    if args.reader_study < 0:
        raise UserError(f"--reader-study {args.reader_study}: give a number of slices, such as 40")
    if args.workers < 1:
        raise UserError(f"--workers {args.workers}: give 1 or more")
    chapters = _chapters(names)
    config, inference = _settings(args, models[0])
    if args.print_config:
        from medstyle_gan.config import dump_config

        print(dump_config(config), end="")
        return 0
    loggers = _wandb_loggers(models, args)
    evaluations = evaluate(
        models,
        args.out,
        pairs=args.pairs,
        scans=collections.get("data.scans"),  # type: ignore[arg-type]  # paths, by construction
        style=collections.get("data.style"),  # type: ignore[arg-type]
        config=config,
        inference=config.inference if inference else None,
        settings=Settings(
            chapters=chapters,
            thresholds=args.thresholds,
            workers=args.workers,
            show_names=args.show_names,
            seed=args.seed,
            quick=args.quick,
            device=args.device,
            precision=args.precision,
            segmenter=args.segmenter,
            inception=args.inception,
            reader_study=args.reader_study,
            ratings=args.ratings,
            viewer=args.viewer or args.niivue is not None,
            niivue=args.niivue,
            viewer_limit=args.viewer_limit,
            mark=not args.no_mark,
            registered_map=args.registered_map,
        ),
        announce=_say,
    )
    for model, evaluation in zip(models, evaluations, strict=True):
        _print(model, evaluation)
    print(f"report: {args.out}/report.html   figures: {args.out}/report.json")
    for logger, evaluation in zip(loggers, evaluations, strict=False):
        print(logger.log(evaluation))
    if args.reader_study:
        _tell_studies(args.out, len(models), args.reader_study)
    return _exit_code(args.fail_on, evaluations)


def _chapters(names: Sequence[str]) -> list[ChapterName] | None:
    from medstyle_gan.evaluation.chapters import RUNS

    unknown = [name for name in names if name not in RUNS]
    if unknown:
        raise UserError(f"--chapters {' '.join(unknown)}: there are {', '.join(RUNS)}")
    return [name for name in RUNS if name in names] if names else None


def _settings(args: argparse.Namespace, model: str) -> tuple[Config, bool]:
    """The model's settings with those of the evaluation, and whether inference was changed."""
    from pathlib import Path

    from medstyle_gan.cli.model_settings import resolve_inference
    from medstyle_gan.config import load_config
    from medstyle_gan.inference import load_bundle

    foreign = [o for o in args.overrides if not o.startswith(_OWN)]
    if foreign:
        raise UserError(
            f"{', '.join(foreign)}: a trained model brings its own settings; of these only "
            f"{', '.join(name.rstrip('.') for name in _OWN)} can be set here"
        )
    model_config = load_bundle(model).config
    record = Path(model) / "config.yaml"  # of a run: the names of its pairs' files, and more
    recorded = load_config(record) if record.is_file() else model_config
    own: dict[str, object] = {
        "data.subject_pattern": recorded.data.subject_pattern,
        "data.cache": recorded.data.cache.model_dump(),
        "data.pairs.names": recorded.data.pairs.names.model_dump(),
        "vgg.weights": _usable(recorded.vgg.weights),
    }
    of_inference = [o for o in args.overrides if o.startswith("inference.")]
    others = [o for o in args.overrides if o not in of_inference]
    given = load_config(args.config, others, options={} if args.config else own)
    data = model_config.data.model_copy(
        update={
            "pairs": given.data.pairs,
            "subject_pattern": given.data.subject_pattern,
            "cache": given.data.cache,
        }
    )
    vgg = model_config.vgg.model_copy(update={"weights": given.vgg.weights})
    config = resolve_inference(model_config, None, of_inference)
    return config.model_copy(update={"data": data, "vgg": vgg}), bool(of_inference)


def _usable(weights: str) -> str:
    """The default in place of a file that a bundle does not record."""
    from medstyle_gan.inference.bundles.bundle import UNRECORDED_FILE

    return "imagenet" if weights == UNRECORDED_FILE else weights


def _print(model: str, evaluation: Evaluation) -> None:
    print(f"{model}: {evaluation.verdict}")
    width = max(len(verdict.chapter) for verdict in evaluation.verdicts)
    for verdict in evaluation.verdicts:
        print(f"  {verdict.chapter:<{width}}  {verdict.verdict:<10}  {verdict.why}")


def _wandb_loggers(models: Sequence[str], args: argparse.Namespace) -> list[EvaluationLogger]:
    if args.wandb == "off":
        return []
    from medstyle_gan.training.wandb_evaluation import evaluation_loggers

    return evaluation_loggers(models, args.out, args.wandb)


def _tell_studies(out: str, models: int, count: int) -> None:
    parts = [""] if models == 1 else [f"/model_{number}" for number in range(1, models + 1)]
    for part in parts:
        study = f"{out}{part}/reader_study"
        print(
            f"reader study of {count} slices: give readers {study}/for_readers and nothing else; "
            f"put what they send back into {study}/ratings, and evaluate again with "
            f"--ratings {study}"
        )


def _exit_code(fail_on: str | None, evaluations: Sequence[Evaluation]) -> int:
    """A model of which nothing could be judged is not vouched for either."""
    forbidden = {"warn": ("warn", "fail", "not judged"), "fail": ("fail", "not judged")}
    bad = forbidden.get(fail_on or "", ())
    return FORBIDDEN_VERDICT if any(e.verdict in bad for e in evaluations) else 0


def _say(line: str) -> None:
    print(line, file=sys.stderr)
