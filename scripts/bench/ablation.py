"""A list of configs trained with several seeds, and what came of each."""

from __future__ import annotations

import csv
import json
import shlex
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
import yaml

from bench.machine import describe_machine
from bench.plain_grid import score_plainly
from bench.trust import TRUST, trust_figures
from medstyle_gan.config import Config, load_config
from medstyle_gan.data import find_collection, prepare_collection
from medstyle_gan.data.phantom import write_phantom_collections
from medstyle_gan.errors import UserError
from medstyle_gan.evaluation import compare_pairs, find_pairs, score_comparison
from medstyle_gan.evaluation.subjects import pair_subjects
from medstyle_gan.inference import Translator
from medstyle_gan.inference.bundles.bundle import package_versions
from medstyle_gan.training import train
from medstyle_gan.training.config_changes import PLACES, flat_fields, refuse_changes
from medstyle_gan.training.run_folder import RunFolder
from medstyle_gan.volumes import atomic_file

METRICS = ("psnr", "ssim", "mae", "spearman")
_HEADS = {"psnr": "PSNR dB", "ssim": "SSIM", "mae": "MAE", "spearman": "Spearman"}
_TRUST_HEADS = {
    "slice_consistency": "slice consistency",
    "spectrum": "spectrum, dB off",
    "checkerboard": "checkerboard, dB",
    "lesion_recall": "lesion recall",
    "false_lesions": "false lesions",
}
_WHOLE = ("chosen_step", "seconds", "peak_memory_mib")
_SCORE = "validation/score_scan_to_style"
_PSEUDO_PAIR_PSNR = "validation/pseudo_pair_psnr_scan_to_style"
_NOTHING = "doing nothing"
# Given by the study's own options, or decided by it.
_OWN = ("training.seed", "training.validate_on", "data.scans", "data.style", "data.pairs.folder")
_FIELDS = {"name", "config", "overrides"}
# Raise it when what is measured of a run changes.
_FIGURES_VERSION = 1
_QUICK: dict[str, object] = {
    "data.spacing": [None, None, None],
    "data.sample_size": [48, 48],
    "generator.ngf": 4,
    "generator.blocks": 1,
    "discriminator.ndf": 4,
    "discriminator.layers": 1,
    "loss.perceptual.layers": ["relu1_2"],
    "loss.style.layers": ["relu1_1", "relu2_1"],
    "vgg.weights": "random:0",
    "training.steps": 4,
    "training.validate_every": 2,
    "logging.panel_samples": 1,
}


@dataclass(frozen=True)
class Entry:
    """One config of the list.

    Attributes:
        name: of its runs and its row.
        config: its own base; None takes the study's.
        overrides: `key.path=value`.
    """

    name: str
    config: str | None = None
    overrides: tuple[str, ...] = ()


@dataclass(frozen=True)
class Study:
    """What to train and compare.

    Attributes:
        out: folder of the runs and figures.
        entries: the configs, the first being what others are compared with.
        base: config that entries begin with; None is the defaults.
        overrides: of all entries, which may set them anew.
        options: collections and pairs; without collections phantoms are made.
        seeds: a run of each entry each.
        quick: sizes of a smoke test.
    """

    out: Path
    entries: tuple[Entry, ...]
    base: str | None
    overrides: tuple[str, ...]
    options: Mapping[str, object]
    seeds: tuple[int, ...]
    quick: bool = False


def read_entries(path: Path, names: Sequence[str] | None = None) -> tuple[Entry, ...]:
    """The entries of a list, or some of them.

    Args:
        path: a YAML list of mappings with `name`, and `overrides` and `config` where wanted.
        names: those wanted, in their order; None is all.

    Raises:
        UserError: naming the file, the entry and what is wrong with it.
    """
    try:
        listed = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise UserError(f"{path}: cannot be read as YAML ({error}); give a list") from error
    if not isinstance(listed, list) or not listed:
        raise UserError(f"{path}: is no list; each entry is `- name: ...` with `overrides: [...]`")
    entries: dict[str, Entry] = {}
    for number, item in enumerate(listed, start=1):
        entry = _entry(item, f"{path}: entry {number}")
        if entry.name in entries:
            raise UserError(f"{path}: entry {number}: the name {entry.name} is there twice")
        entries[entry.name] = entry
    unknown = [name for name in names or () if name not in entries]
    if unknown:
        raise UserError(f"{path}: has no {', '.join(unknown)}; there are {', '.join(entries)}")
    return tuple(entries[name] for name in names or entries)


def _entry(item: Any, where: str) -> Entry:
    if not isinstance(item, dict) or not isinstance(item.get("name"), str):
        raise UserError(f"{where}: needs a name; write `- name: ...`")
    name, overrides = item["name"], item.get("overrides") or []
    if unknown := sorted(set(item) - _FIELDS):
        raise UserError(
            f"{where} ({name}): knows no {', '.join(unknown)}; put settings in overrides"
        )
    if not name.replace("_", "").replace("-", "").isalnum():
        raise UserError(f"{where}: {name!r} names a folder; use letters, digits, _ and -")
    if not isinstance(overrides, list) or not all(isinstance(o, str) for o in overrides):
        raise UserError(f"{where} ({name}): overrides is no list of key.path=value")
    return Entry(name, item.get("config"), tuple(overrides))


def study_ablation(study: Study, say: Callable[[str], None]) -> dict[str, Any]:
    """Train what is not trained yet, one after the other, and score what is not scored yet.

    Args:
        study: what to train; runs are OUT/runs/NAME/seed_N, and finished ones are kept.
        say: takes a line of progress.

    Raises:
        UserError: a config has mistakes (before anything is trained), or a folder holds a run
            of other settings.
    """
    options = _data(study)
    configs = {
        (entry.name, seed): _config(study, entry, seed, options)
        for entry in study.entries
        for seed in study.seeds
    }
    runs = {key: study.out / "runs" / key[0] / f"seed_{key[1]}" for key in configs}
    for key, config in configs.items():
        _refuse_another(runs[key], config)
    results: dict[str, dict[str, Any]] = {}
    nothing: list[dict[str, Any]] = []
    for number, (key, config) in enumerate(configs.items(), start=1):
        name, seed = key
        say(f"{number} of {len(configs)}: {name}, seed {seed}")
        if not _finished(runs[key], config):
            train(config, runs[key], resume="if_started")
        figures = _kept_figures(runs[key], config)
        nothing = nothing or figures.pop("nothing")
        figures.pop("nothing", None)
        entry = results.setdefault(name, {"config": _without_places(config), "runs": []})
        entry["runs"].append({"seed": seed, **figures})
    first = next(iter(configs.values()))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if first.training.accelerator == "cpu":
        device = torch.device("cpu")
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "quick": study.quick,
        "machine": describe_machine(device, quick=True),
        "versions": package_versions(),
        "seeds": list(study.seeds),
        "overrides": list(study.overrides),
        "phantoms": not study.options.get("data.scans"),
        "entries": {
            entry.name: {"overrides": list(entry.overrides), **results[entry.name]}
            for entry in study.entries
        },
        "nothing": nothing,
    }


# ------------------------------------------------------------------------------- the runs


def _data(study: Study) -> dict[str, object]:
    """Collections and pairs, of phantoms where none are given."""
    given = {key: value for key, value in study.options.items() if value is not None}
    missing = [key for key in ("data.scans", "data.style") if key not in given]
    if len(missing) == 2 and "data.pairs.folder" not in given:
        shape = (48, 48, 8) if study.quick else (80, 80, 24)
        made = write_phantom_collections(study.out / "phantoms", 4, 2, 0, shape)
        return {
            "data.scans": str(made.scans),
            "data.style": str(made.style),
            "data.pairs.folder": str(made.pairs),
        }
    if missing:
        names = " and ".join(f"--{key.removeprefix('data.')}" for key in missing)
        raise UserError(f"give {names} too, or no data at all: then phantoms are made")
    return given


def _config(study: Study, entry: Entry, seed: int, options: Mapping[str, object]) -> Config:
    overrides = [*study.overrides, *entry.overrides]
    taken = [key for key in _OWN if any(o.partition("=")[0].strip() == key for o in overrides)]
    if taken:
        raise UserError(f"{entry.name}: the study sets {', '.join(taken)} itself; leave that out")
    own = {"training.seed": seed, "training.validate_on": "unpaired"}
    small = _QUICK if study.quick else {}
    try:
        return load_config(
            entry.config or study.base, overrides, options={**small, **options, **own}
        )
    except UserError as error:
        raise UserError(f"{entry.name}: {error}") from error


def _refuse_another(run: Path, config: Config) -> None:
    """Refuses a run of other settings, before hours are spent on those before it."""
    folder = RunFolder(run)
    if folder.config.is_file():
        try:
            refuse_changes(folder.read_config(), config, step=0)
        except UserError as error:
            raise UserError(f"{run}: {error}") from error


def _finished(run: Path, config: Config) -> bool:
    folder = RunFolder(run)
    return folder.model.is_dir() and folder.read_config().training.steps == config.training.steps


def _kept_figures(run: Path, config: Config) -> dict[str, Any]:
    """A finished run's figures, measured once: they are kept beside its folder."""
    translator = Translator.load(run)
    path = run.with_name(f"{run.name}.figures.json")
    of = {
        "version": _FIGURES_VERSION,
        "model_hash": translator.model_hash,
        "pairs": config.data.pairs.model_dump(mode="json"),
    }
    if path.is_file():
        kept = json.loads(path.read_text())
        if kept["of"] == of:
            found: dict[str, Any] = kept["figures"]
            return found
    figures = _figures(translator, run, config)
    with atomic_file(path) as file:
        file.write((json.dumps({"of": of, "figures": figures}, indent=2) + "\n").encode())
    return figures


def _figures(translator: Translator, run: Path, config: Config) -> dict[str, Any]:
    """What a finished run came to: its pairs' figures, and its validations'."""
    figures: dict[str, Any] = {
        "model_hash": translator.model_hash,
        "pairs": [],
        "nothing": [],
        "trust": [],
        "validation": validation_figures(RunFolder(run).path / "metrics.csv"),
        "cost": cost_figures(
            RunFolder(run).path / "metrics.csv", config.training.global_batch_size
        ),
    }
    if config.data.pairs.folder:
        pairs = find_pairs(config.data.pairs)
        references = {_NOTHING: lambda scan, inside: scan}
        for comparison in compare_pairs(translator, pairs, config, references):
            # By the protocol of the figures that were measured for other code.
            native = comparison.grid == "native"
            rows = score_plainly(comparison) if native else score_comparison(comparison)
            for row in rows:
                kind = {_NOTHING: "nothing"}.get(row.name, "pairs")
                values = {metric: getattr(row, metric) for metric in METRICS}
                figures[kind].append({"pair": f"{row.subject}, {row.grid}", **values})
        style = prepare_collection(
            find_collection(config.data.style or "", config.data.subject_pattern),
            config.data,
            "style",
        )
        subjects = pair_subjects(pairs, config.data, show_names=True)
        figures["trust"] = trust_figures(translator, config, subjects, style)
    return figures


def validation_figures(path: Path) -> dict[str, float | int | None]:
    """What a run's validations say, of `metrics.csv`.

    Returns:
        `score`, the last one of style and structure; `pseudo_pair_psnr`, the last one on
        pseudo-pairs of held-out scans; `chosen_step`, that of the best of these, or else of
        those; and where pairs were told too `chosen_psnr`, theirs at that step, and `best_psnr`,
        their best. None where there is no such figure.
    """
    with path.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row.get(_SCORE)]
    names = ("score", "pseudo_pair_psnr", "chosen_step", "chosen_psnr", "best_psnr")
    figures: dict[str, float | int | None] = dict.fromkeys(names)
    if not rows:
        return figures
    by = _PSEUDO_PAIR_PSNR if rows[-1].get(_PSEUDO_PAIR_PSNR) else _SCORE
    chosen = max(rows, key=lambda row: float(row[by]))
    figures |= {"score": float(rows[-1][_SCORE]), "chosen_step": int(chosen["step"])}
    if by == _PSEUDO_PAIR_PSNR:
        figures["pseudo_pair_psnr"] = float(rows[-1][by])
    if paired := [float(row["validation/psnr"]) for row in rows if row.get("validation/psnr")]:
        figures |= {"chosen_psnr": float(chosen["validation/psnr"]), "best_psnr": max(paired)}
    return figures


def cost_figures(path: Path, batch: int = 1) -> dict[str, float | None]:
    """What a run took, of `metrics.csv`.

    Args:
        path: the file.
        batch: samples a step.

    Returns:
        `seconds` of its steps, without registrations, preparing and validating, and
        `peak_memory_mib`; None where a row does not tell.
    """
    with path.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row.get("samples_per_second")]
    seconds, before = 0.0, 0
    for row in rows:
        step = int(row["step"])
        seconds += batch * (step - before) / max(float(row["samples_per_second"]), 1e-9)
        before = step
    peaks = [float(row["peak_memory_mib"]) for row in rows if row.get("peak_memory_mib")]
    return {"seconds": seconds or None, "peak_memory_mib": max(peaks, default=None)}


def _without_places(config: Config) -> dict[str, Any]:
    flat = flat_fields(config.model_dump(mode="json"))
    return {key: value for key, value in flat.items() if key not in PLACES}


# ------------------------------------------------------------------------------ the table


def ablation_lines(result: Mapping[str, Any]) -> list[str]:
    """The figures as Markdown."""
    machine, entries = result["machine"], result["entries"]
    abilities = ", ".join(name for name, there in machine["abilities"].items() if there)
    seeds = ", ".join(map(str, result["seeds"]))
    any_entry = next(iter(entries.values()))
    steps = {e["config"]["training.steps"] for e in entries.values()}
    data = "phantoms" if result["phantoms"] else "the given collections"
    lines = [
        "# Ablation",
        "",
        f"Written by `scripts/study_ablation.py` on {result['date']}: {data}, "
        f"{' or '.join(map(str, sorted(steps)))} steps, seeds {seeds}. Means over seeds ± half "
        "the range between them; masked, [-1, 1] units, of the last step's model; at the network's "
        "grid, and by the protocol of `scripts/bench/plain_grid.py`.",
        "",
        f"Machine: {machine['gpu'] or machine['cpu']}, {machine['cores']} cores, "
        f"{abilities or 'no AVX2'}, {machine['threads']} threads, torch {machine['torch']}, "
        f"GEMM {machine['gemm_gflops']['fp32']} GFLOP/s (fp32), "
        f"{machine['gemm_gflops']['bf16']} (bf16).",
    ]
    if result["quick"]:
        lines += ["", "**A smoke test: these figures say nothing.**"]
    lines += ["", "| name | settings |", "|---|---|"]
    for name, entry in entries.items():
        settings = " ".join(f"`{o}`" for o in entry["overrides"]) or "as the base"
        lines.append(f"| {name} | {settings} |")
    if result["overrides"]:
        lines += ["", f"All: `{shlex.join(result['overrides'])}`."]
    for number, row in enumerate(any_entry["runs"][0]["pairs"]):
        lines += ["", f"## {row['pair']}", "", *_header(list(_HEADS.values()))]
        nothing = [_number(result["nothing"][number][m], m) for m in METRICS]
        lines.append(f"| {_NOTHING} | {' | '.join(nothing)} |")
        for name, entry in entries.items():
            cells = [_cell([r["pairs"][number][m] for r in entry["runs"]], m) for m in METRICS]
            lines.append(f"| {name} | {' | '.join(cells)} |")
    if any_entry["runs"][0]["trust"]:
        lines += [
            "",
            "## Sharpness and lesions",
            "",
            "Means over pairs: by `scripts/bench/trust.py`, whose measures are those of "
            "`medstyle evaluate`; `truth` is the true style volumes.",
            "",
            *_header(list(_TRUST_HEADS.values())),
        ]
        true = [_of_pairs(any_entry["runs"][0], f"true_{name}") for name in TRUST]
        lines.append(f"| truth | {' | '.join(_cell([value], '') for value in true)} |")
        for name, entry in entries.items():
            cells = [_cell([_of_pairs(r, key) for r in entry["runs"]], key) for key in TRUST]
            lines.append(f"| {name} | {' | '.join(cells)} |")
    heads = {
        "score": "style and structure, last step (−1: doing nothing)",
        "pseudo_pair_psnr": "PSNR on pseudo-pairs of held-out scans",
        "chosen_step": "step chosen, by these where there are some",
        "chosen_psnr": "pairs' PSNR there",
        "best_psnr": "best of all validations",
    }
    lines += ["", "## Without pairs", "", *_header(list(heads.values()))]
    for name, entry in entries.items():
        cells = [_cell([r["validation"].get(key) for r in entry["runs"]], key) for key in heads]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    costs = {"seconds": "seconds of steps", "peak_memory_mib": "peak memory, MiB"}
    lines += ["", "## Cost", "", *_header(list(costs.values()))]
    for name, entry in entries.items():
        cells = [_cell([r["cost"][key] for r in entry["runs"]], key) for key in costs]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def _of_pairs(run: Mapping[str, Any], name: str) -> float | None:
    """The mean of a figure of trust over a run's pairs."""
    values = [own[name] for own in run["trust"] if name in own]
    return statistics.mean(values) if values else None


def _header(heads: Sequence[str]) -> list[str]:
    return [f"| | {' | '.join(heads)} |", f"|---|{'---|' * len(heads)}"]


def _cell(values: Sequence[float | None], metric: str) -> str:
    """The mean and half the range of seeds' figures, as far as there are some."""
    there = [value for value in values if value is not None]
    if not there:
        return "–"
    mean = _number(statistics.mean(there), metric)
    return mean if len(there) == 1 else f"{mean} ± {_number((max(there) - min(there)) / 2, metric)}"


def _number(value: float, metric: str) -> str:
    digits = 0 if metric in _WHOLE else 2 if metric.endswith("psnr") else 3
    return f"{value:.{digits}f}"
