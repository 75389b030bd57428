"""`medstyle plan`, and what `medstyle train` plans by itself."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medstyle_gan.cli import main
from medstyle_gan.config import Config, load_config
from medstyle_gan.data.phantom import PhantomFolders, write_phantom_collections
from medstyle_gan.training.planning.rules import PLANNED, setting

SHAPE = (48, 48, 14)
TINY = ["generator.ngf=4", "discriminator.ndf=4", "discriminator.layers=1", "vgg.weights=random:0"]


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> PhantomFolders:
    return write_phantom_collections(tmp_path_factory.mktemp("phantoms"), subjects=3, shape=SHAPE)


Planned = Callable[..., int]


@pytest.fixture
def plan(phantoms: PhantomFolders, tmp_path: Path) -> Planned:
    def run(
        *more: str, scans: object = phantoms.scans, out: object = tmp_path / "plan.yaml"
    ) -> int:
        words = ["plan", "--scans", str(scans), "--style", str(phantoms.style), "-o", str(out)]
        return main([*words, *more])

    return run


def test_a_plan_is_a_config_with_a_reason_at_each_setting(
    plan: Planned, phantoms: PhantomFolders, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = tmp_path / "figures.json"
    assert plan("--no-trial", "--json", str(figures), "loss.cycle.weight=7", *TINY) == 0
    text = (tmp_path / "plan.yaml").read_text()
    config = load_config(tmp_path / "plan.yaml")
    assert config.data.scans == str(phantoms.scans)
    assert config.loss.cycle.weight == 7
    assert config.data.dims == 2
    written = json.loads(figures.read_text())
    assert str(phantoms.scans) not in figures.read_text()
    one_line = " ".join(text.replace("#", " ").split())
    for decision in written["decisions"]:
        assert " ".join(decision["reason"].split()) in one_line
        value = setting(config, decision["key"])
        plain = list(value) if isinstance(value, tuple) else value
        assert plain == decision["value"], decision["key"]
    assert written["trial"] is None
    assert written["estimate"]["seconds"] > 0
    assert written["scan"]["subjects"] == 3
    out = capsys.readouterr().out
    assert "estimate: " in out
    assert "trial: none was made" in out
    # What trains by the file is what the plan says: nothing is planned anew.
    assert main(["train", "--config", str(tmp_path / "plan.yaml"), "--print-config"]) == 0
    printed = tmp_path / "printed.yaml"
    printed.write_text(capsys.readouterr().out)
    assert load_config(printed) == config


def test_the_trial_trains_and_leaves_nothing(
    plan: Planned,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    monkeypatch.setenv("MEDSTYLE_CACHE", str(tmp_path / "cache"))
    layers = ["loss.perceptual.layers=[relu2_1]", "loss.style.layers=[relu1_1]"]
    sizes = ["data.sample_size=[32,32]", "generator.blocks=1", "training.accelerator=cpu"]
    figures = tmp_path / "figures.json"
    assert plan("--json", str(figures), *TINY, *layers, *sizes) == 0
    trial = json.loads(figures.read_text())["trial"]
    assert trial["steps"] == 20
    assert trial["step_seconds"] > 0
    assert trial["memory"] > 2**20
    captured = capsys.readouterr()
    assert captured.err.index("estimate: ") < captured.err.index("trying 20 steps")
    for text in (captured.out, (tmp_path / "plan.yaml").read_text()):
        assert "trial of 20 steps: " in text
        assert "estimate: " in text
    assert not list(place.iterdir())
    assert not (tmp_path / "cache").exists()


def empty(folder: Path) -> Path:
    (folder / "empty").mkdir()
    return folder / "empty"


def unreadable(folder: Path) -> Path:
    (folder / "broken").mkdir()
    (folder / "broken" / "sub-01.nii.gz").write_bytes(b"")
    return folder / "broken"


def too_small(folder: Path) -> Path:
    return write_phantom_collections(folder / "small", subjects=2, shape=(24, 24, 8)).scans


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (empty, "no volume or picture in this folder"),
        (unreadable, "1 files cannot be used"),
        (too_small, "the scan collection's volumes are too small"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_collections_that_cannot_be_used_are_refused(
    make: Callable[[Path], Path],
    expected: str,
    plan: Planned,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert plan("--no-trial", scans=make(tmp_path)) == 2
    errors = capsys.readouterr().err
    assert expected in errors
    assert errors.count("medstyle: error: ") == 1
    assert not (tmp_path / "plan.yaml").exists()


def test_an_existing_plan_is_not_overwritten(
    plan: Planned, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "plan.yaml").write_text("mine")
    assert plan("--no-trial") == 2
    assert "exists already; choose another name" in capsys.readouterr().err
    assert (tmp_path / "plan.yaml").read_text() == "mine"


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (["--time", "soon"], "--time: 'soon' is no length of time"),
        (["data.stepz=3"], "data.stepz"),
    ],
)
def test_mistakes_are_told(
    more: list[str], expected: str, plan: Planned, capsys: pytest.CaptureFixture[str]
) -> None:
    assert plan(*more) == 2
    assert expected in capsys.readouterr().err


# ----------------------------------------------------------------------- what train plans itself


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[Config]:
    """Puts a training in place that keeps its config and announces one line."""
    configs: list[Config] = []

    def train(config: Config, out: str, resume: Any, announce: Any, *more: Any) -> Path:
        configs.append(config)
        announce("the summary")
        return Path(out)

    monkeypatch.setattr("medstyle_gan.training.train", train)
    return configs


def words(phantoms: PhantomFolders, out: Path, *more: str) -> list[str]:
    collections = ["--scans", str(phantoms.scans), "--style", str(phantoms.style)]
    return ["train", *collections, "-o", str(out), *TINY, *more]


def test_training_without_a_config_plans_what_is_not_given_and_says_so(
    phantoms: PhantomFolders,
    trained: list[Config],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(words(phantoms, tmp_path / "run", "training.steps=7")) == 0
    (config,) = trained
    assert (config.training.steps, config.generator.ngf) == (7, 4)  # given
    summary, notice, *_ = capsys.readouterr().err.splitlines()
    assert summary == "the summary"
    assert notice.startswith("no --config: planned data.dims=2 ")
    assert "training.steps" not in notice.partition(";")[0]
    # The command that it names makes the same plan, to be kept.
    assert "medstyle plan with the same --scans, --style and settings" in notice
    kept = tmp_path / "kept.yaml"
    _, *same = words(phantoms, kept, "training.steps=7")
    assert main(["plan", *same, "--no-trial"]) == 0
    ours, theirs = load_config(kept), config
    # But for the losses, which train leaves alone where the networks' width is given.
    kept_keys = [key for key in PLANNED if not key.startswith("loss.")]
    assert all(setting(ours, key) == setting(theirs, key) for key in kept_keys)
    assert theirs.loss.style.every_n_steps == 4


def test_a_config_switches_planning_off(
    phantoms: PhantomFolders,
    trained: list[Config],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "own.yaml").write_text("training: {seed: 3}")
    assert main(words(phantoms, tmp_path / "run", "--config", str(tmp_path / "own.yaml"))) == 0
    assert trained[0].data.sample_size == (256, 256)
    assert "planned" not in capsys.readouterr().err


def test_a_run_begun_again_keeps_its_plan(
    phantoms: PhantomFolders, trained: list[Config], tmp_path: Path
) -> None:
    from medstyle_gan.training.run_folder import RunFolder

    again = words(phantoms, tmp_path / "run", "--resume-or-start", "generator.blocks=1")
    assert main(again) == 0
    # As if the machine had been another one then.
    first = load_config(options={**trained[0].model_dump(), "training.steps": 4321})
    RunFolder(tmp_path / "run").create(first)
    assert main(again) == 0
    assert trained[1] == first


def test_processes_of_a_launcher_do_not_plan_each_for_itself(
    phantoms: PhantomFolders,
    trained: list[Config],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "7")
    assert main(words(phantoms, tmp_path / "run", "--devices", "2")) == 0
    assert trained[0].data.sample_size == (256, 256)
    assert "make one plan for all with medstyle plan" in capsys.readouterr().err


def test_the_printed_config_is_the_planned_one(
    phantoms: PhantomFolders, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words(phantoms, tmp_path / "run", "training.steps=7"), "--print-config"]) == 0
    printed = tmp_path / "printed.yaml"
    printed.write_text(capsys.readouterr().out)
    assert max(load_config(printed).data.sample_size) <= max(SHAPE)
    assert not (tmp_path / "run").exists()
