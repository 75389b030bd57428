"""`medstyle translate`: whole volumes through a trained model."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from medstyle_gan.cli import SOME_FAILED
from medstyle_gan.cli.many_processes import interrupted_by_sigterm, run_in_processes
from medstyle_gan.cli.model_settings import resolve_inference
from medstyle_gan.cli.options import (
    add_config_arguments,
    add_device_argument,
    add_precision_argument,
    refuse_secrets_in_output,
    split_overrides,
)
from medstyle_gan.errors import UserError

if TYPE_CHECKING:
    from medstyle_gan.inference import Outcome
    from medstyle_gan.inference.archive.kinds import Patients
    from medstyle_gan.inference.archive.sharding import Shard
    from medstyle_gan.inference.outputs.job import Job
    from medstyle_gan.volumes import Profile

_BAR = "{percentage:3.0f}%|{bar}| {n:.1f}/{total} files [{elapsed}<{remaining}]"
_SHOWN = 10  # files with warnings or faults
_SHOWN_EACH = 3
DEFAULT_GIB = 4.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument(
        "model", metavar="MODEL", help="run folder of medstyle train, or a bundle's folder"
    )
    parser.add_argument(
        "inputs",
        metavar="INPUT",
        nargs="+",
        help="files and folders to translate; settings such as inference.batch_size=4 may stand "
        "among them",
    )
    parser.add_argument(
        "-o", "--out", metavar="OUT", required=True, help="folder that the translations go to"
    )
    parser.add_argument(
        "--direction",
        choices=("scan_to_style", "style_to_scan"),
        default="scan_to_style",
        help="which way (default: %(default)s)",
    )
    parser.add_argument(
        "--strict",
        action="store_true",
        help="refuse volumes that are not of the kind that the model was trained on",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="translate again what exists in OUT"
    )
    parser.add_argument(
        "--uncertainty",
        action="store_true",
        help="write a second volume beside each translation, NAME_uncertainty: how far its voxels "
        "differ between mirrored inputs and the run's last checkpoints (standard deviation, in "
        "the translation's units); takes as many times as long as there are of both",
    )
    parser.add_argument(
        "--bids",
        metavar="SUFFIX",
        help="name translations as BIDS derivatives with this suffix: --bids T2w makes "
        "sub-01_desc-synthetic_T2w.nii.gz of sub-01_T1w.nii.gz",
    )
    parser.add_argument(
        "--no-mark",
        action="store_true",
        help="no visible SYNTHETIC in translations that are pictures (metadata and sidecars stay)",
    )
    dicom = parser.add_argument_group("DICOM")
    dicom.add_argument(
        "--deidentify",
        choices=("basic", "keep-patient"),
        help="basic, the default for DICOM, removes the patient, dates and places (DICOM PS3.15, "
        "Annex E), gives new UIDs and calls translations study-HASH/series-NUMBER; asked for, it "
        "renames other files too. keep-patient keeps patient, study and folders, so that viewers "
        "overlay source and translation",
    )
    dicom.add_argument(
        "--names",
        metavar="FILE",
        help="list which translation is of which input, where names are changed, as CSV; keep it "
        "apart from OUT",
    )
    dicom.add_argument(
        "--uid-key",
        metavar="FILE",
        help="secret that makes the same new UIDs and names in every call and part of a run; made "
        "where missing, keep it apart from OUT",
    )
    many = parser.add_argument_group("many files")
    many.add_argument(
        "--shard",
        metavar="I/N",
        default="1/1",
        help="translate the I-th of N parts alone, such as 2/4 on the second of four machines; "
        "all write to the same OUT",
    )
    many.add_argument(
        "--devices",
        metavar="N",
        type=int,
        default=1,
        help="processes on this machine, one a GPU where there are some (default: %(default)s); "
        "torchrun and srun do as well",
    )
    many.add_argument(
        "--workers",
        metavar="N",
        type=int,
        default=2,
        help="files at work at once in a process, so that one is read or written while another is "
        "in the network (default: %(default)s)",
    )
    many.add_argument(
        "--max-memory",
        metavar="GIB",
        type=float,
        default=DEFAULT_GIB,
        help="resident memory of a process; fewer slices go at once, and large volumes lie on "
        "the disk of OUT meanwhile, to keep within it (default: %(default)s)",
    )
    add_device_argument(parser)
    add_precision_argument(parser)
    add_config_arguments(parser, positionals=False)


def run(args: argparse.Namespace) -> int:
    """Translates; 0 when all is done, 1 when some files failed or are stale.

    Raises:
        UserError: for a model, input or output that is refused, and when no file at all could
            be translated because each of them is unusable.
    """
    from medstyle_gan.inference.archive.sharding import launched_shard, parse_shard

    part, launched = parse_shard(args.shard), launched_shard()
    _refuse_numbers(args, launched.count)
    if args.devices > 1 and not args.print_config:
        with interrupted_by_sigterm():
            return run_in_processes(_command(args), args.devices)
    with interrupted_by_sigterm():
        return _translate(args, part.split(launched))


def _refuse_numbers(args: argparse.Namespace, launched: int) -> None:
    for name in ("devices", "workers"):
        if getattr(args, name) < 1:
            raise UserError(f"--{name} {getattr(args, name)}: give 1 or more")
    if not args.max_memory > 0:
        raise UserError(f"--max-memory {args.max_memory:g}: give GiB above 0, such as 4")
    if args.devices > 1 and launched > 1:
        raise UserError(
            f"--devices {args.devices}: torchrun or srun has started {launched} processes "
            "already; leave it out"
        )


def _command(args: argparse.Namespace) -> list[str]:
    """The same command for one process."""
    command = ["translate", args.model, *args.inputs, "--out", args.out]
    for name in (
        *("direction", "bids", "deidentify", "names", "uid_key", "shard", "workers", "max_memory"),
        *("device", "precision"),
    ):
        if (value := getattr(args, name)) is not None:
            command += [f"--{name.replace('_', '-')}", str(value)]
    command += [
        f"--{name.replace('_', '-')}"
        for name in ("overwrite", "strict", "uncertainty", "no_mark")
        if getattr(args, name)
    ]
    return command + (["--config", args.config] if args.config else [])


def _translate(args: argparse.Namespace, shard: Shard) -> int:
    from tqdm import tqdm

    from medstyle_gan.inference import (
        Translator,
        load_bundle,
        plan_translation,
        run_translation,
    )
    from medstyle_gan.inference.archive.bids import write_dataset_description
    from medstyle_gan.inference.archive.memory import GIBIBYTE, MemoryPlan
    from medstyle_gan.inference.archive.planning import names_a_file

    inputs, overrides = split_overrides(args.inputs)
    bundle = load_bundle(args.model)
    config = resolve_inference(bundle.config, args.config, overrides)
    if args.print_config:
        from medstyle_gan.config import dump_config

        print(dump_config(config), end="")
        return 0
    if not inputs:
        raise UserError("no INPUT: give files or folders to translate")
    translator = Translator.load(
        bundle,
        device=_own_device(args.device),
        precision=args.precision,
        inference=config.inference,
        strict=args.strict,
    )
    patients = _patients(args)
    jobs = plan_translation(
        translator,
        inputs,
        args.out,
        args.direction,
        args.bids,
        args.uncertainty,
        patients.pseudonyms,
    )
    _refuse_many_secrets(args, shard, jobs)
    mine = shard.of(jobs)
    workers = max(1, min(args.workers, len(mine)))
    memory = MemoryPlan(translator, args.direction, args.max_memory * GIBIBYTE, workers)
    estimate, too_large = memory.of_all(mine)
    if too_large and estimate is None:
        raise UserError(too_large[0])
    if estimate is not None:
        print(f"needs {estimate}", file=sys.stderr)
    _tell_faults([job.fault for job in mine if job.fault] + too_large, len(mine))
    out = None if names_a_file(Path(args.out)) else Path(args.out)
    if args.names:
        _write_names(args.names, jobs, out)
    results = run_translation(
        translator,
        jobs,
        args.direction,
        args.overwrite,
        lambda share: show(share),
        out=out,
        shard=shard,
        workers=workers,
        memory=memory,
        patients=patients,
        mark=not args.no_mark,
    )
    outcomes: list[Outcome] = []
    trouble = ""
    with tqdm(total=len(mine), file=sys.stderr, bar_format=_BAR) as bar:

        def show(share: float) -> None:
            bar.n = min(len(outcomes) + share, bar.total)
            bar.update(0)

        try:
            for outcome in results:
                outcomes.append(outcome)
                show(0.0)
        except UserError as error:
            if not outcomes:
                raise
            trouble = str(error)
    if args.bids is not None and out is not None:
        write_dataset_description(out)
    return _report(outcomes, args.out, shard, trouble)


def _patients(args: argparse.Namespace) -> Patients:
    from medstyle_gan.inference.archive.kinds import Patients
    from medstyle_gan.volumes import UidMap

    refuse_secrets_in_output(args.out, uid_key=args.uid_key, names=args.names)
    if args.deidentify == "keep-patient" and args.names:
        raise UserError("--names: --deidentify keep-patient changes no names; leave it out")
    if args.deidentify == "basic" and args.bids is not None:
        raise UserError(
            "--deidentify basic renames all files, and --bids names them by their subjects; leave "
            "out one of them"
        )
    profile: Profile = args.deidentify or "basic"
    files = args.deidentify == "basic"  # asked for
    if args.uid_key is None:
        return Patients(profile, files=files)
    key = UidMap.from_key_file(args.uid_key)
    return Patients(profile, key, key, files)


def _refuse_many_secrets(args: argparse.Namespace, shard: Shard, jobs: Sequence[Job]) -> None:
    dicom = any(job.kind == "series" and not job.fault for job in jobs)
    if dicom and shard.count > 1 and args.deidentify != "keep-patient" and args.uid_key is None:
        raise UserError(
            "--deidentify basic in several processes needs --uid-key FILE: without a common "
            "secret, series of one study would get studies of their own"
        )


def _tell_faults(faults: Sequence[str], inputs: int) -> None:
    """Say before the start what can be seen by then to fail; at the end all are listed."""
    if faults:
        lines = "".join(f"\n  {fault}" for fault in faults[:_SHOWN])
        lines += f"\n  and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
        print(
            f"warning: {len(faults)} of {inputs} inputs will not be translated:{lines}",
            file=sys.stderr,
        )


def _write_names(path: str, jobs: Sequence[Job], out: Path | None) -> None:
    """All jobs' names, whichever part this process does."""
    from medstyle_gan.volumes.deidentification import write_names

    names = [
        (str(job.output.relative_to(out) if out else job.output.name), str(job.input))
        for job in jobs
        if job.private
    ]
    write_names(path, names, more=True)


def _own_device(device: str) -> str:
    """`auto`, or the GPU of this process where a launcher started one for each."""
    from medstyle_gan.inference.archive.sharding import local_rank

    rank = local_rank()
    if device == "auto" and rank is not None:
        import torch

        if torch.cuda.is_available():
            return f"cuda:{rank % torch.cuda.device_count()}"
    return device


def _report(outcomes: list[Outcome], out: str, shard: Shard, trouble: str) -> int:
    states = ("done", "skipped", "stale", "failed")
    count = {s: sum(o.status == s for o in outcomes) for s in states}
    unmade = [outcome for outcome in outcomes if outcome.status in ("stale", "failed")]
    lines = "".join(f"\n  {outcome.reason}" for outcome in unmade)
    lines += f"\n  {trouble}" if trouble else ""
    if unmade and all(outcome.bad_input for outcome in outcomes):
        several = len(unmade) > 1 or trouble
        raise UserError(f"nothing was translated:{lines}" if several else unmade[0].reason)
    part = "" if shard.count == 1 else f"part {shard}: "
    words = [f"{count['done']} translated"]
    if count["skipped"]:
        words.append(f"{count['skipped']} skipped (done before, verified)")
    if count["stale"]:
        words.append(f"{count['stale']} stale (--overwrite translates them again)")
    if count["failed"]:
        words.append(f"{count['failed']} failed")
    print(f"{part}{', '.join(words)} -> {out}")
    warned = [outcome for outcome in outcomes if outcome.warnings]
    for outcome in warned[:_SHOWN]:
        print(warning_of(outcome), file=sys.stderr)
    if len(warned) > _SHOWN:
        more = len(warned) - _SHOWN
        print(f"warning: {more} more files, see manifest.csv in {out}", file=sys.stderr)
    if unmade or trouble:
        what = f"{len(unmade)} of {len(outcomes)} files failed"
        if count["stale"]:
            what += " or are stale"
        print(f"medstyle: {what}:{lines}", file=sys.stderr)
        return SOME_FAILED
    return 0


def warning_of(outcome: Outcome) -> str:
    """The warnings of one file: one in its own line, the first of several in a list."""
    first = f"warning: {outcome.input}:"
    if len(outcome.warnings) == 1:
        return f"{first} {outcome.warnings[0]}"
    lines = [f"  - {warning}" for warning in outcome.warnings[:_SHOWN_EACH]]
    if len(outcome.warnings) > _SHOWN_EACH:
        lines.append(f"  and {len(outcome.warnings) - _SHOWN_EACH} more, see its JSON")
    return "\n".join([first, *lines])
