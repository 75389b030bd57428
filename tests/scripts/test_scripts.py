"""The set-up scripts, run in a copy of the repository against a stand-in for Python and pip."""

from __future__ import annotations

import shutil
import subprocess
import textwrap
from pathlib import Path

import pytest

# Logs what it is asked to do. As `python3 -m venv DIR` it copies itself to DIR/bin/python; pip
# "works" in the copy unless the file FAIL_PIP exists; the version check asks for VERSION_OK.
STAND_IN = """\
    #!/bin/bash
    home="$STAND_IN_HOME"
    case "$*" in
        --version) echo "Python 3.9.1" ;;
        -c*version_info*) [[ -e "$home/VERSION_OK" ]] ;;
        "-m venv "*) echo "venv" >>"$home/log"; mkdir -p "$3/bin"; cp "$0" "$3/bin/python" ;;
        "-m pip --version") [[ "$0" == */.venv/* ]] ;;
        "-m pip install"*)
            echo "pip ${*: -1}" >>"$home/log"
            sleep "${STAND_IN_DELAY:-0}"
            [[ ! -e "$home/FAIL_PIP" ]] ;;
        *) echo "run $*" >>"$home/log" ;;
    esac
"""


class Clone:
    """A copy of the scripts in an empty repository, and the log of the stand-in."""

    def __init__(self, source: Path, folder: Path) -> None:
        self.root = folder / "a clone"
        self.home = folder / "home"
        self.home.mkdir()
        (self.home / "VERSION_OK").touch()
        shutil.copytree(source / "scripts", self.root / "scripts")
        shutil.copytree(source / ".ci", self.root / ".ci")
        (self.root / "pyproject.toml").write_text("[project]\n")
        for name in ("python3", "python3.11", "python3.12", "python3.13"):
            path = self.home / name
            path.write_text(textwrap.dedent(STAND_IN))
            path.chmod(0o755)

    def start(self, script: str, *arguments: str, delay: float = 0) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [str(self.root / script), *arguments],
            cwd=self.home,
            env={
                "PATH": f"{self.home}:/usr/bin:/bin",
                "STAND_IN_HOME": str(self.home),
                "STAND_IN_DELAY": str(delay),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, script: str, *arguments: str) -> tuple[int, str]:
        process = self.start(script, *arguments)
        _, errors = process.communicate()
        return process.returncode, errors

    def log(self) -> list[str]:
        """Lines logged since the last call."""
        path = self.home / "log"
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return lines


@pytest.fixture
def clone(repository: Path, tmp_path: Path) -> Clone:
    return Clone(repository, tmp_path)


def set_up(log: list[str]) -> list[str]:
    return [line for line in log if not line.startswith("run")]


def test_the_first_run_installs_and_the_second_does_not(clone: Clone) -> None:
    assert clone.run("scripts/test.sh")[0] == 0
    assert set_up(clone.log()) == ["venv", f"pip {clone.root}[dev]"]
    assert clone.run("scripts/test.sh")[0] == 0
    assert set_up(clone.log()) == []


def test_the_demo_installs_without_extras_unless_tests_were_set_up(clone: Clone) -> None:
    assert clone.run("scripts/demo.sh")[0] == 0
    assert set_up(clone.log()) == ["venv", f"pip {clone.root}"]
    assert clone.run("scripts/test.sh")[0] == 0
    assert set_up(clone.log()) == [f"pip {clone.root}[dev]"]
    assert clone.run("scripts/demo.sh")[0] == 0
    assert set_up(clone.log()) == []


def test_a_failed_install_ends_the_script_and_is_done_again(clone: Clone) -> None:
    (clone.home / "FAIL_PIP").touch()
    assert clone.run("scripts/test.sh")[0] == 1
    assert clone.log() == ["venv", f"pip {clone.root}[dev]"]
    (clone.home / "FAIL_PIP").unlink()
    assert clone.run("scripts/test.sh")[0] == 0
    assert set_up(clone.log()) == [f"pip {clone.root}[dev]"]


def test_a_venv_that_was_left_half_made_is_made_again(clone: Clone) -> None:
    (clone.root / ".venv" / "bin").mkdir(parents=True)
    assert clone.run("scripts/demo.sh")[0] == 0
    assert set_up(clone.log())[0] == "venv"


def test_changed_dependencies_are_installed(clone: Clone) -> None:
    clone.run("scripts/demo.sh")
    clone.log()
    (clone.root / "pyproject.toml").write_text("[project]\nname = 'changed'\n")
    clone.run("scripts/demo.sh")
    assert set_up(clone.log()) == [f"pip {clone.root}"]


@pytest.mark.skipif(shutil.which("flock") is None, reason="flock is not installed")
def test_two_at_once_install_once(clone: Clone) -> None:
    both = [clone.start("scripts/test.sh", delay=0.5) for _ in range(2)]
    for process in both:
        process.communicate()
    assert [process.returncode for process in both] == [0, 0]
    assert set_up(clone.log()) == ["venv", f"pip {clone.root}[dev]"]


def test_an_old_python_is_refused_with_its_version(clone: Clone) -> None:
    (clone.home / "VERSION_OK").unlink()
    code, errors = clone.run("scripts/test.sh")
    assert code == 1
    assert "needs Python 3.11, 3.12 or 3.13, and python3 here is: Python 3.9.1." in errors
    assert clone.log() == []


def test_a_venv_of_an_old_python_is_named(clone: Clone) -> None:
    clone.run("scripts/demo.sh")
    (clone.home / "VERSION_OK").unlink()
    code, errors = clone.run("scripts/demo.sh")
    assert code == 1
    assert "remove that folder" in errors


def test_the_test_script_checks_style_and_types_and_passes_arguments_to_pytest(
    clone: Clone,
) -> None:
    assert clone.run("scripts/test.sh", "-k", "two words")[0] == 0
    ran = [line for line in clone.log() if line.startswith("run")]
    assert ran[:3] == ["run -m ruff check .", "run -m ruff format --check .", "run -m mypy"]
    assert ran[3].startswith("run -m pytest ")
    assert ran[3].endswith(" -k two words")


def test_continuous_integration_runs_the_test_script(clone: Clone) -> None:
    assert clone.run(".ci/run", "tests/config")[0] == 0
    assert clone.log()[-1].endswith("tests/config")


def test_the_demos_output_folder_can_be_chosen(clone: Clone) -> None:
    assert clone.run("scripts/demo.sh", "--quick", "-o", "elsewhere")[0] == 0
    default = f"-o {clone.root}/runs/demo"
    assert clone.log()[-1] == f"run -m medstyle_gan demo {default} --quick -o elsewhere"


def test_the_pictures_of_recipes_install_without_extras(clone: Clone) -> None:
    assert clone.run("scripts/recipes.sh", "--parts", "teaching")[0] == 0
    log = clone.log()
    assert set_up(log) == ["venv", f"pip {clone.root}"]
    assert log[-1] == f"run {clone.root}/scripts/recipes.py --parts teaching"
