from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from medstyle_gan.cli import main
from medstyle_gan.data.phantom import PhantomFolders, write_phantom_collections
from tests.end_to_end.tiny import SHAPE, TINY, snapshot

Refused = Callable[..., str]


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> PhantomFolders:
    """Collections of three subjects each and a pair; not to be changed."""
    return write_phantom_collections(tmp_path_factory.mktemp("phantoms"), subjects=3, shape=SHAPE)


@pytest.fixture(scope="session")
def trained(phantoms: PhantomFolders, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run; not to be changed."""
    run = tmp_path_factory.mktemp("trained") / "run"
    collections = ["--scans", str(phantoms.scans), "--style", str(phantoms.style)]
    assert main(["train", *collections, "-o", str(run), *TINY]) == 0
    return run


@pytest.fixture
def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Refused:
    """Runs a command that must be refused, and gives its message.

    Nothing below the test's folder may be written, changed or removed meanwhile.
    """

    def run(*arguments: object) -> str:
        before = snapshot(tmp_path)
        capsys.readouterr()
        assert main([str(argument) for argument in arguments]) == 2
        output = capsys.readouterr()
        assert output.out == ""
        assert output.err.count("medstyle: error: ") == 1
        assert "Traceback" not in output.err
        progress, _, message = output.err.partition("medstyle: error: ")
        # What translate says before: the memory it needs, and its bar.
        assert progress == "" or "files [" in progress or progress.startswith("needs ")
        after = snapshot(tmp_path)
        made = after.keys() - before.keys()
        # An output folder may have been made, to see whether it can be written to, and its
        # manifest tells what failed.
        assert made <= {"out", "out/manifest.csv"}
        assert {name: after[name] for name in before} == before
        return message

    return run


@pytest.fixture
def folders(phantoms: PhantomFolders, tmp_path: Path) -> PhantomFolders:
    """Copies of the phantoms that a test may change."""
    return PhantomFolders(
        *(
            shutil.copytree(getattr(phantoms, name), tmp_path / name)
            for name in ("scans", "style", "pairs")
        )
    )
