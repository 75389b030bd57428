"""`medstyle train` started, stopped by its time, and started again by the same command."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from medstyle_gan.cli import main
from medstyle_gan.data.phantom import PhantomFolders, write_phantom_collections
from medstyle_gan.inference import load_bundle
from medstyle_gan.training import interruption
from tests.end_to_end.tiny import TINY

STEPS = "training.steps=3"


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> PhantomFolders:
    return write_phantom_collections(
        tmp_path_factory.mktemp("phantoms"), subjects=2, shape=(40, 40, 8)
    )


def command(phantoms: PhantomFolders, out: Path, *more: str) -> list[str]:
    data = ["--scans", str(phantoms.scans), "--style", str(phantoms.style), "-o", str(out)]
    return ["train", *data, *(o for o in TINY if not o.startswith("training.steps")), STEPS, *more]


def test_one_command_starts_stops_in_time_and_goes_on_to_the_same_model(
    phantoms: PhantomFolders, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(phantoms, tmp_path / "through")) == 0
    out = tmp_path / "run"
    # Over before the first step: each start does one step, so that all of them get on.
    again = command(phantoms, out, "--resume-or-start", "--max-time", "0.001s")
    assert [main(again) for _ in range(2)] == [75, 75]
    assert not (out / "model").exists()
    errors = capsys.readouterr().err
    assert "the time is over: stopped; go on from the last checkpoint" in errors
    assert f"medstyle train --resume -o {out}" in errors
    assert [main(again) for _ in range(2)] == [0, 0]  # the last step, and nothing left to do
    ours, theirs = load_bundle(out).state, load_bundle(tmp_path / "through").state
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_run_that_stopped_before_its_first_checkpoint_is_begun_again(
    phantoms: PhantomFolders, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    again = command(phantoms, out, "--resume-or-start")
    assert main(again) == 0
    for path in (out / "checkpoints").iterdir():
        path.unlink()
    assert main([*again, "method.ema_decay=0.5"]) == 2  # another training than the folder's
    assert "method.ema_decay: was 0.999, now 0.5" in capsys.readouterr().err
    (out / "model" / "model.yaml").unlink()
    assert main(again) == 0
    assert "from step" not in capsys.readouterr().err
    assert (out / "model" / "model.yaml").exists()


def test_a_folder_of_something_else_is_not_begun_in(
    phantoms: PhantomFolders, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "precious.txt").write_text("mine")
    assert main(command(phantoms, tmp_path, "--resume-or-start")) == 2
    assert "not empty" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--max-time", "90"], "training.max_time"),
        (["--resume", "--resume-or-start"], "not allowed with argument"),
    ],
)
def test_mistakes_are_told(
    arguments: list[str],
    message: str,
    phantoms: PhantomFolders,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(command(phantoms, tmp_path / "run", *arguments)) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_time_counts_from_the_commands_start(
    phantoms: PhantomFolders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deadlines: list[float | None] = []
    begin = interruption.Interruption.__init__

    def noting(self: interruption.Interruption, deadline: float | None = None) -> None:
        deadlines.append(deadline)
        begin(self, None)

    monkeypatch.setattr(interruption.Interruption, "__init__", noting)
    monkeypatch.setattr("medstyle_gan.cli.train.time.monotonic", lambda: 1000.0)
    assert main(command(phantoms, tmp_path / "run", "--max-time", "90m")) == 0
    assert deadlines == [1000.0 + 5400.0]
