"""`medstyle check`: look at both collections before training on them."""

from __future__ import annotations

import argparse
import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from medstyle_gan.cli import SOME_FAILED
from medstyle_gan.cli.options import (
    add_collection_arguments,
    add_config_arguments,
    collection_options,
    resolve_config,
)

if TYPE_CHECKING:
    from medstyle_gan.data.inspection import CollectionReport


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's options."""
    add_collection_arguments(parser)
    parser.add_argument(
        "-o",
        "--out",
        metavar="DIR",
        type=Path,
        default=Path("medstyle_check"),
        help="folder for contact_sheet.png and check.json (default: %(default)s)",
    )
    add_config_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Reads both collections, prints what they hold and what is wrong.

    Returns:
        0, or 1 when some files cannot be used.

    Raises:
        UserError: a collection is missing or empty, has no usable file, or both are the same.
    """
    config = resolve_config(args, collection_options(args)).data

    from medstyle_gan.data.collection import check_distinct, find_collection
    from medstyle_gan.errors import UserError
    from medstyle_gan.volumes import ensure_writable_folder

    missing = [name for name in ("scans", "style") if not getattr(config, name)]
    if missing:
        raise UserError(f"nothing to check: give --{' and --'.join(missing)}")
    scans = find_collection(config.scans or (), config.subject_pattern)
    style = find_collection(config.style or (), config.subject_pattern)
    check_distinct(scans, style)
    ensure_writable_folder(args.out)

    from medstyle_gan.data.contact_sheet import contact_sheet
    from medstyle_gan.data.doubts import find_doubts
    from medstyle_gan.data.inspection import inspect_collection
    from medstyle_gan.data.progress import FilesProgress

    with FilesProgress("reading") as progress:
        reports = (
            inspect_collection(scans, config, "scan", partial(progress.show, "scan")),
            inspect_collection(style, config, "style", partial(progress.show, "style")),
        )
    doubts = find_doubts(*reports, config)
    contact_sheet(reports, args.out / "contact_sheet.png")
    _write_json(args.out / "check.json", reports, doubts)
    _print(reports, doubts, args.out)
    empty = [report for report in reports if not report.files]
    if empty:
        raise UserError(
            f"no usable file in the {' and the '.join(r.domain for r in empty)} collection "
            f"({', '.join(r.source for r in empty)}); the reasons are listed above"
        )
    return SOME_FAILED if any(report.unusable for report in reports) else 0


def _write_json(path: Path, reports: tuple[CollectionReport, ...], doubts: tuple[str, ...]) -> None:
    from medstyle_gan.volumes import atomic_file

    content = {report.domain: report.as_dict() for report in reports}
    with atomic_file(path) as file:
        file.write(json.dumps({**content, "warnings": list(doubts)}, indent=2).encode())


def _print(reports: tuple[CollectionReport, ...], doubts: tuple[str, ...], out: Path) -> None:
    cells = {report.domain: report.table() for report in reports}
    names = list(dict.fromkeys(name for table in cells.values() for name in table))
    first = max(map(len, names)) + 2
    widths = {
        domain: max(len(domain), *(len(line) for lines in table.values() for line in lines)) + 2
        for domain, table in cells.items()
    }
    print(" " * first + "".join(f"{domain:<{widths[domain]}}" for domain in cells).rstrip())
    for name in names:
        columns = {domain: table.get(name, ["-"]) for domain, table in cells.items()}
        for number in range(max(map(len, columns.values()))):
            line = f"{name if number == 0 else '':<{first}}"
            for domain, lines in columns.items():
                line += f"{lines[number] if number < len(lines) else '':<{widths[domain]}}"
            print(line.rstrip())
    for report in reports:
        for path, reason in report.unusable:
            print(f"unusable {report.domain}: {path}: {reason}")
    for doubt in doubts:
        print(f"warning: {doubt}")
    print(f"Look at {out / 'contact_sheet.png'}; every file's figures are in {out / 'check.json'}")
