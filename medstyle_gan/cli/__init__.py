"""The `medstyle` command: one module a command, imported only when that command is named."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import NamedTuple, NoReturn

from medstyle_gan.errors import UserError

SOME_FAILED = 1
USER_MISTAKE = 2
INTERRUPTED = 130


class Command(NamedTuple):
    """Where a command lives and what it is for."""

    module: str  # offers add_arguments(parser) and run(args) -> exit code
    help: str


COMMANDS = {
    "check": Command("medstyle_gan.cli.check", "look at both collections and say what is wrong"),
    "plan": Command(
        "medstyle_gan.cli.plan", "choose a training's settings by the data and this machine"
    ),
    "train": Command("medstyle_gan.cli.train", "learn to translate between two collections"),
    "translate": Command("medstyle_gan.cli.translate", "translate volumes with a trained model"),
    "deidentify": Command(
        "medstyle_gan.cli.deidentify", "copy volumes and DICOM without the patient's text"
    ),
    "stylize": Command("medstyle_gan.cli.stylize", "give one image the style of others"),
    "panel": Command(
        "medstyle_gan.cli.panel", "set original, stylised and labels side by side for teaching"
    ),
    "evaluate": Command(
        "medstyle_gan.cli.evaluate", "judge on held-out data whether a model may be used"
    ),
    "export": Command("medstyle_gan.cli.export", "write a model as a bundle for other tools"),
    "info": Command("medstyle_gan.cli.info", "show what a model is and what it was trained on"),
    "demo": Command("medstyle_gan.cli.demo", "all of it, on data that it makes itself"),
}


class _Parser(argparse.ArgumentParser):
    """An argument parser that offers the nearest right option for a wrong one."""

    def __init__(self, prog: str, description: str) -> None:
        super().__init__(prog=prog, description=description, allow_abbrev=False)

    def parse_all(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Parses options and positionals in any order; anything left over is a mistake."""
        args, unknown = self.parse_known_intermixed_args(arguments)
        if unknown:
            self.error(f"unknown argument {unknown[0]}{self._nearest_option(unknown[0])}")
        return args

    def error(self, message: str) -> NoReturn:
        """Prints one message on stderr and ends with the exit code of a user's mistake."""
        self.exit(
            USER_MISTAKE, f"medstyle: error: {message}\nSee `{self.prog} --help` for the options.\n"
        )

    def _nearest_option(self, argument: str) -> str:
        name = argument.partition("=")[0]
        return _did_you_mean(name, list(self._option_string_actions))


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        argv: The arguments after `medstyle`, or None for the process's own.

    Returns:
        The exit code: 0 done, 1 some of the work failed, 2 the user's mistake, 3 a verdict that
        --fail-on forbids, 130 Ctrl-C, 143 SIGTERM, 75 a training whose time is over.
    """
    try:
        return _dispatch(sys.argv[1:] if argv is None else argv)
    except SystemExit as end:  # argparse's --help and errors, and a training after SIGTERM
        return end.code if isinstance(end.code, int) else 0
    except UserError as error:
        print(f"medstyle: error: {error}", file=sys.stderr)
        return USER_MISTAKE
    except KeyboardInterrupt:
        print("medstyle: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output (`| head`) has gone: nothing to report
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _dispatch(arguments: Sequence[str]) -> int:
    first = arguments[0] if arguments else None
    if first not in COMMANDS:
        return _answer_without_command(first)
    command = COMMANDS[first]
    module = import_module(command.module)
    parser = _Parser(f"medstyle {first}", description=f"{command.help.capitalize()}.")
    module.add_arguments(parser)
    code: int = module.run(parser.parse_all(arguments[1:]))
    return code


def _answer_without_command(first: str | None) -> int:
    """Answers `--help`, `--version`, nothing at all, and what is no command."""
    if first in ("-h", "--help"):
        print(_overview(), end="")
        return 0
    if first == "--version":
        from medstyle_gan import __version__

        print(f"medstyle {__version__}")
        return 0
    if first is None:
        print(_overview(), end="", file=sys.stderr)
        return USER_MISTAKE
    if first.startswith("-"):
        raise UserError(f"unknown option {first}; a command comes first (see `medstyle --help`)")
    known = ", ".join(COMMANDS)
    hint = _did_you_mean(first, list(COMMANDS)) or f"; the commands are {known}"
    raise UserError(f"no command {first}{hint}")


def _overview() -> str:
    width = max(map(len, COMMANDS)) + 2
    rows = "".join(f"  {name:<{width}}{command.help}\n" for name, command in COMMANDS.items())
    return (
        "usage: medstyle COMMAND ...\n\n"
        "Unpaired style translation of medical scans, from training to whole volumes.\n\n"
        f"commands:\n{rows}\n"
        "options:\n"
        "  -h, --help  show this text; `medstyle COMMAND --help` shows a command's options\n"
        "  --version   show the version\n\n"
        "exit codes:\n"
        "  0    done\n"
        "  1    some of the work failed; it is listed at the end\n"
        "  2    a mistake in what was given, told in one message\n"
        "  3    a verdict that --fail-on forbids\n"
        "  75   a training's time (--max-time, SIGUSR1) is over: go on with it by --resume\n"
        "  130  Ctrl-C, and 143 SIGTERM: of a training after a checkpoint\n"
    )


def _did_you_mean(given: str, names: list[str]) -> str:
    near = get_close_matches(given, names, n=1)
    return f"; did you mean {near[0]}?" if near else ""
