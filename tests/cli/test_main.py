from __future__ import annotations

import argparse
import json
import re
import signal
import subprocess
import sys
import types
from collections.abc import Callable

import pytest

import medstyle_gan
from medstyle_gan import cli
from medstyle_gan.cli import COMMANDS, INTERRUPTED, USER_MISTAKE, Command, main
from medstyle_gan.cli.evaluate import FORBIDDEN_VERDICT
from medstyle_gan.errors import UserError
from medstyle_gan.training.interruption import TIME_IS_OVER_CODE

HEAVY = {"torch", "numpy", "monai", "lightning", "nibabel", "scipy", "matplotlib", "wandb"}
Run = Callable[[argparse.Namespace], int]
Stub = Callable[[Run], None]


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Stub:
    """Puts a command `work` with one option and a list of names in place of the real ones."""

    def install(run: Run) -> None:
        def add_arguments(parser: argparse.ArgumentParser) -> None:
            parser.add_argument("--scans")
            parser.add_argument("names", nargs="*")

        module = types.ModuleType("stub_command")
        module.add_arguments = add_arguments  # type: ignore[attr-defined]
        module.run = run  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "stub_command", module)
        monkeypatch.setattr(cli, "COMMANDS", {"work": Command("stub_command", "do some work")})

    return install


def raises(error: BaseException) -> Run:
    def run(args: argparse.Namespace) -> int:
        raise error

    return run


@pytest.mark.parametrize("arguments", [["--help"], *([name, "--help"] for name in COMMANDS)])
def test_help_is_fast_and_loads_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import json, sys, time; from medstyle_gan.cli import main; code = main(sys.argv[1:]);"
        "print(json.dumps([code, time.process_time(), sorted(sys.modules)]), file=sys.stderr)"
    )
    seconds = []
    for _ in range(5):  # the best of five: other processes may be slowing this one down
        run = subprocess.run(
            [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
        )
        exit_code, second, modules = json.loads(run.stderr)
        assert exit_code == 0
        assert run.stdout.startswith("usage: medstyle")
        assert not HEAVY & set(modules)
        seconds.append(second)
        if second < 0.5:
            break
    assert min(seconds) < 0.5


def test_the_overview_names_every_command_and_imports_none() -> None:
    code = (
        "import sys; from medstyle_gan.cli import COMMANDS, main; main(['--help']);"
        "print({c.module for c in COMMANDS.values()} & set(sys.modules), file=sys.stderr)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert all(f"  {name} " in run.stdout for name in COMMANDS)
    assert run.stderr.strip() == "set()"


def test_the_overview_tells_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    told = capsys.readouterr().out.partition("exit codes:")[2]
    codes = {
        0,
        1,
        USER_MISTAKE,
        FORBIDDEN_VERDICT,
        TIME_IS_OVER_CODE,
        INTERRUPTED,
        128 + signal.SIGTERM,
    }
    assert {int(number) for number in re.findall(r"\b\d+\b", told)} == codes


def test_the_module_runs_as_a_program() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "medstyle_gan", "--version"], capture_output=True, text=True
    )
    assert (run.returncode, run.stdout) == (0, f"medstyle {medstyle_gan.__version__}\n")


@pytest.mark.parametrize("code", [0, 1, 3])
def test_a_commands_exit_code_is_passed_on(stub: Stub, code: int) -> None:
    stub(lambda args: code)
    assert main(["work"]) == code


def test_options_and_names_may_be_mixed(stub: Stub) -> None:
    seen: list[argparse.Namespace] = []

    def run(args: argparse.Namespace) -> int:
        seen.append(args)
        return 0

    stub(run)
    assert main(["work", "a", "--scans", "S", "b"]) == 0
    assert seen[0].names == ["a", "b"]
    assert seen[0].scans == "S"


def test_a_users_mistake_is_one_message_and_exit_code_2(
    stub: Stub, capsys: pytest.CaptureFixture[str]
) -> None:
    stub(raises(UserError("folder A/ is empty; give one with volumes")))
    assert main(["work"]) == 2
    assert capsys.readouterr() == (
        "",
        "medstyle: error: folder A/ is empty; give one with volumes\n",
    )


def test_ctrl_c_is_exit_code_130_without_a_traceback(
    stub: Stub, capsys: pytest.CaptureFixture[str]
) -> None:
    stub(raises(KeyboardInterrupt()))
    assert main(["work"]) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_a_mistake_of_ours_keeps_its_traceback(stub: Stub) -> None:
    stub(raises(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        main(["work"])


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["trian"], "no command trian; did you mean train?"),
        (["xyzzy"], f"no command xyzzy; the commands are {', '.join(COMMANDS)}"),
        (["--scans", "A"], "unknown option --scans; a command comes first"),
    ],
)
def test_a_wrong_command_is_told_with_the_nearest(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert expected in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--scan", "A"], "unknown argument --scan; did you mean --scans?"),
        (["--xyzzy"], "unknown argument --xyzzy"),
        (["--scans"], "argument --scans: expected one argument"),
    ],
)
def test_a_wrong_option_is_told_with_the_nearest(
    stub: Stub, arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    stub(lambda args: 0)
    assert main(["work", *arguments]) == 2
    output = capsys.readouterr()
    assert expected in output.err
    assert "See `medstyle work --help`" in output.err
    assert output.out == ""


def test_no_command_shows_the_overview_as_a_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("usage: medstyle")


def test_a_reader_that_goes_away_is_no_error() -> None:
    code = (
        "import sys, types; from medstyle_gan import cli;"
        "m = types.ModuleType('m'); m.add_arguments = lambda parser: None;"
        "m.run = lambda args: print('x' * 10_000_000) or 0;"
        "sys.modules['m'] = m; cli.COMMANDS['work'] = cli.Command('m', '');"
        "sys.exit(cli.main(['work']))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 0
