"""`medstyle deidentify`: the same voxels, without the patient's text."""

from __future__ import annotations

import argparse
import sys

from medstyle_gan.cli import SOME_FAILED
from medstyle_gan.cli.options import refuse_secrets_in_output
from medstyle_gan.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument(
        "inputs",
        metavar="INPUT",
        nargs="+",
        help="files and folders: NIfTI, NRRD, MetaImage, DICOM (with or without an ending)",
    )
    parser.add_argument(
        "-o", "--out", metavar="OUT", required=True, help="folder of the copies; none is replaced"
    )
    parser.add_argument(
        "--rename",
        metavar="PREFIX",
        help="call files, and in DICOM patients, PREFIX-0001 and so on; without it files keep "
        "their names, which may name the patient",
    )
    parser.add_argument(
        "--names",
        metavar="FILE",
        help="with --rename, write which new name stands for what as CSV; keep it apart from OUT",
    )
    parser.add_argument(
        "--uid-key",
        metavar="FILE",
        help="DICOM: secret that makes the same new UIDs in another call; made where missing, "
        "keep it apart from OUT",
    )


def run(args: argparse.Namespace) -> int:
    """De-identifies; 0 when all is done, 1 when some files failed.

    Raises:
        UserError: an input or output is refused, or no file at all could be copied.
    """
    from tqdm import tqdm

    from medstyle_gan.volumes import UidMap, ensure_writable_folder
    from medstyle_gan.volumes.deidentification import (
        deidentify,
        plan_deidentification,
        write_names,
    )

    _check_names(args)
    jobs = plan_deidentification(args.inputs, args.out, args.rename)
    ensure_writable_folder(args.out)
    if args.names:
        write_names(args.names, [job.names for job in jobs])
    uids = UidMap.from_key_file(args.uid_key) if args.uid_key else UidMap()
    failed: list[str] = []
    for job in tqdm(jobs, file=sys.stderr, unit="file"):
        try:
            deidentify(job, uids)
        except UserError as error:
            failed.append(str(error))
        except Exception as error:  # a bug or too little memory must not stop a night's work
            failed.append(f"{job.input}: unexpected {type(error).__name__}: {error}")
    return _report(failed, len(jobs), args)


def _check_names(args: argparse.Namespace) -> None:
    if args.rename is not None and (not args.rename or set(args.rename) & set("/\\\0^=")):
        raise UserError(f"--rename {args.rename!r}: give letters, digits, - and _ only")
    if args.names and not args.rename:
        raise UserError("--names lists the names that --rename gives; add --rename PREFIX")
    refuse_secrets_in_output(args.out, names=args.names, uid_key=args.uid_key)


def _report(failed: list[str], total: int, args: argparse.Namespace) -> int:
    lines = "".join(f"\n  {reason}" for reason in failed)
    if len(failed) == total:
        raise UserError(f"nothing was de-identified:{lines}" if total > 1 else failed[0])
    count = f"{total - len(failed)} de-identified" + (f", {len(failed)} failed" if failed else "")
    print(f"{count} -> {args.out}")
    if not args.rename:
        print("File and folder names were kept: look whether they name a patient (--rename)")
    if failed:
        print(f"medstyle: {len(failed)} of {total} files failed:{lines}", file=sys.stderr)
        return SOME_FAILED
    return 0
