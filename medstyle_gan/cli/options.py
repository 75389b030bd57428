"""Options that every command shares: a config file and `key.path=value` overrides."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from medstyle_gan.config import Config

_OVERRIDE = re.compile(r"[a-z_]+(\.[a-z_0-9]+)+=")
_SETTING = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*=")


def add_config_arguments(parser: argparse.ArgumentParser, positionals: bool = True) -> None:
    """Adds `--config`, `--print-config` and, by default, the overrides as positionals.

    Args:
        parser: The command's parser.
        positionals: False for a command with positionals of its own; it takes the overrides
            out of them with `split_overrides` and sets `args.overrides` before
            `resolve_config`.
    """
    group = parser.add_argument_group("config")
    group.add_argument("--config", metavar="FILE", help="YAML file, such as one of configs/")
    group.add_argument(
        "--print-config", action="store_true", help="print the resolved config as YAML and stop"
    )
    if positionals:
        group.add_argument(
            "overrides",
            metavar="KEY.PATH=VALUE",
            nargs="*",
            help="settings that win over the file, such as training.steps=3000",
        )


def add_device_argument(parser: argparse.ArgumentParser) -> None:
    """Adds `--device`: where trained networks run."""
    parser.add_argument(
        "--device",
        default="auto",
        help="auto (a GPU where there is one), cpu, cuda, cuda:1 (default: %(default)s)",
    )


def add_precision_argument(parser: argparse.ArgumentParser) -> None:
    """Adds `--precision`: the arithmetic of trained networks."""
    parser.add_argument(
        "--precision",
        choices=("auto", "fp32", "bf16"),
        default="auto",
        help="auto takes bf16 where the hardware has it, fp32 is exact (default: %(default)s)",
    )


def add_collection_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds `--scans` and `--style`, each of one or several paths; see `collection_options`."""
    what = "folder, glob, .txt/.csv list or .json datalist (several may follow each other)"
    parser.add_argument("--scans", nargs="+", metavar="PATH", help=f"scan collection: {what}")
    parser.add_argument("--style", nargs="+", metavar="PATH", help="style collection, likewise")


def collection_options(args: argparse.Namespace) -> dict[str, object]:
    """The collections by config key; overrides that follow their paths join `args.overrides`."""
    options: dict[str, object] = {}
    overrides: list[str] = []
    for name in ("scans", "style"):
        paths, among = split_paths(getattr(args, name))
        overrides += among
        if paths:
            options[f"data.{name}"] = paths[0] if len(paths) == 1 else paths
    args.overrides = [*args.overrides, *overrides]
    return options


def split_paths(tokens: Iterable[str] | None) -> tuple[list[str], list[str]]:
    """Parts what followed an option of files into (files, overrides that stood between them)."""
    paths: list[str] = []
    overrides: list[str] = []
    for token in tokens or ():
        # A misspelt setting too, so that it is told as one and not as a missing file.
        is_setting = _SETTING.match(token) and not Path(token).exists()
        (overrides if is_setting else paths).append(token)
    return paths, overrides


def split_overrides(tokens: Iterable[str]) -> tuple[list[str], list[str]]:
    """Parts positionals into (others, overrides); `section.key=…` is an override."""
    others: list[str] = []
    overrides: list[str] = []
    for token in tokens:
        (overrides if _OVERRIDE.match(token) else others).append(token)
    return others, overrides


def refuse_secrets_in_output(out: str, **files: str | None) -> None:
    """Refuses options whose file would undo a de-identification beside what it de-identified.

    Args:
        out: The output folder.
        files: The files by their option's name.

    Raises:
        UserError: One lies in the output folder.
    """
    from medstyle_gan.errors import UserError

    for name, file in files.items():
        if file and Path(file).resolve().is_relative_to(Path(out).resolve()):
            raise UserError(
                f"--{name.replace('_', '-')} {file}: lies in the output folder, where it would "
                "undo the de-identification; choose another place"
            )


def resolve_config(
    args: argparse.Namespace,
    extra: Mapping[str, object] | None = None,
    method: str | None = None,
) -> Config:
    """Builds the config from the file, then options, then overrides.

    With `--print-config` it prints the result and ends the program with exit code 0.

    Args:
        args: Parsed arguments of a parser that `add_config_arguments` was called on.
        extra: Dotted config key → value of the command's own options (`--scans` →
            `data.scans`); None where an option was not given.
        method: The command's default method.

    Raises:
        UserError: The config has mistakes (all are listed), or an option and an override
            set the same key.
    """
    from medstyle_gan.config import dump_config, load_config
    from medstyle_gan.errors import UserError

    overrides: list[str] = args.overrides
    options = {key: value for key, value in (extra or {}).items() if value is not None}
    twice = [o for o in overrides if o.partition("=")[0] in options]
    if twice:
        raise UserError(f"{', '.join(twice)}: an option gives the same setting; keep one of them")
    config = load_config(args.config, overrides, options=options, method=method)
    if args.print_config:
        print(dump_config(config), end="")
        raise SystemExit(0)
    return config


def room_for_patches(args: argparse.Namespace) -> dict[str, object]:
    """Stand-ins for what `data.dims=3` cannot do without, until a plan has decided them."""
    given = {override.partition("=")[0].strip() for override in args.overrides}
    dims = [o.partition("=")[2].strip() for o in args.overrides if o.startswith("data.dims=")]
    if args.config or dims[-1:] != ["3"]:
        return {}
    stand_ins = {"data.spacing": [None] * 3, "data.sample_size": [64] * 3}
    return {key: value for key, value in stand_ins.items() if key not in given}
