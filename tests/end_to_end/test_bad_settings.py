"""Wrong settings, models and output folders: exit 2, one message, nothing written."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from medstyle_gan.data.phantom import PhantomFolders
from tests.end_to_end.conftest import Refused
from tests.end_to_end.tiny import TINY, train_command


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("training.stepz=3", "training.steps"),
        ("trainning.steps=3", "training"),
        ("generator.name=resnett", "resnet"),
        ("training.steps=many", "training.steps"),
        ("training.steps=2.5", "training.steps"),
        ("training.steps=0", "training.steps"),
        ("data.spacing=[1,1]", "data.spacing"),
        ("data.workers=-1", "data.workers"),
        ("loss.cycle.weight=nan", "loss.cycle.weight"),
        ("data.intensity.scan={name: window, lower: 3}", "data.intensity.scan.lower"),
    ],
)
@pytest.mark.parametrize("source", ["command line", "file"])
def test_a_wrong_setting_is_named(
    folders: PhantomFolders,
    tmp_path: Path,
    refused: Refused,
    override: str,
    expected: str,
    source: str,
) -> None:
    given: list[object] = [override]
    if source == "file":
        key, _, value = override.partition("=")
        tree = yaml.safe_load(value)
        for name in reversed(key.split(".")):
            tree = {name: tree}
        (tmp_path / "mine.yaml").write_text(yaml.safe_dump(tree))
        given = ["--config", tmp_path / "mine.yaml"]
    command = ["train", "--scans", folders.scans, "--style", folders.style]
    message = refused(*command, "-o", tmp_path / "run", *given)
    assert expected in message
    if source == "file":
        assert "mine.yaml" in message


def test_all_wrong_settings_are_told_at_once(
    folders: PhantomFolders, tmp_path: Path, refused: Refused
) -> None:
    wrong = ("training.stepz=3", "data.workers=lots", "loss.style.target=everything")
    message = refused(*train_command(folders.scans, folders.style, tmp_path / "run", *wrong))
    for key in ("training.stepz", "data.workers", "loss.style.target"):
        assert key in message


def test_missing_vgg_weights_are_refused(
    folders: PhantomFolders, tmp_path: Path, refused: Refused
) -> None:
    weights = f"vgg.weights={tmp_path / 'vgg19.pth'}"
    message = refused(*train_command(folders.scans, folders.style, tmp_path / "run", weights))
    assert "there is no such file; give imagenet, random:SEED" in message


def no_model(folder: Path, trained: Path) -> Path:
    return folder / "nowhere"


def an_empty_folder(folder: Path, trained: Path) -> Path:
    (folder / "model").mkdir()
    return folder / "model"


def a_file(folder: Path, trained: Path) -> Path:
    return Path(shutil.copy(trained / "model" / "generators.safetensors", folder))


def a_run_without_its_end(folder: Path, trained: Path) -> Path:
    ignore = shutil.ignore_patterns("model")
    return Path(shutil.copytree(trained, folder / "model", ignore=ignore))


def damaged_weights(folder: Path, trained: Path) -> Path:
    model = shutil.copytree(trained / "model", folder / "model")
    weights = model / "generators.safetensors"
    content = bytearray(weights.read_bytes())
    content[-5] ^= 64
    weights.write_bytes(content)
    return model


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (no_model, "give a run folder of medstyle train"),
        (an_empty_folder, "give a run folder of medstyle train"),
        (a_file, "give the run folder that medstyle train wrote"),
        (a_run_without_its_end, "finish it with medstyle train --resume"),
        (damaged_weights, "copy the model folder again"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_model_folder_that_is_none_is_refused(
    folders: PhantomFolders,
    trained: Path,
    tmp_path: Path,
    refused: Refused,
    make: Callable[[Path, Path], Path],
    expected: str,
) -> None:
    model = make(tmp_path, trained)
    message = refused("translate", model, folders.scans, "-o", tmp_path / "new")
    assert message.startswith(f"{model}")
    assert expected in message


@pytest.mark.parametrize("below", ["", "below"])
@pytest.mark.parametrize("command", ["check", "train", "translate", "demo"])
def test_a_file_in_the_outputs_place_is_refused_and_kept(
    folders: PhantomFolders,
    trained: Path,
    tmp_path: Path,
    refused: Refused,
    command: str,
    below: str,
) -> None:
    file = tmp_path / "precious"
    file.write_text("mine")
    out = file / below if below else file
    collections = ["--scans", folders.scans, "--style", folders.style, *TINY]
    arguments = {"translate": [trained, folders.scans], "demo": ["--quick"]}
    message = refused(command, *arguments.get(command, collections), "-o", out)
    assert str(file) in message
    assert "choose another" in message or "give a folder with -o" in message


def test_an_unwritable_run_folder_is_known_before_the_volumes_are_read(
    folders: PhantomFolders, tmp_path: Path, refused: Refused
) -> None:
    (tmp_path / "file").touch()
    sorted(folders.scans.iterdir())[0].write_bytes(b"")
    message = refused(*train_command(folders.scans, folders.style, tmp_path / "file" / "run"))
    assert message.startswith(f"{tmp_path / 'file'}: ")
    assert "0 bytes" not in message


@pytest.mark.parametrize(
    "content", [["precious.txt"], ["config.yaml"], ["config.yaml", "checkpoints/last.ckpt"]]
)
def test_a_run_folder_in_use_is_not_touched(
    folders: PhantomFolders, tmp_path: Path, refused: Refused, content: list[str]
) -> None:
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    for name in content:
        (run / name).write_text("{}")
    message = refused(*train_command(folders.scans, folders.style, run))
    assert message.startswith(f"{run}: exists and is not empty; choose another -o")
    assert ("--resume" in message) == ("checkpoints/last.ckpt" in content)
    assert ("remove this run" in message) == (content == ["config.yaml"])


def test_a_translation_onto_its_input_is_refused(
    folders: PhantomFolders, trained: Path, refused: Refused
) -> None:
    message = refused("translate", trained, folders.scans, "-o", folders.scans, "--overwrite")
    assert "would replace the input" in message


def test_resuming_what_is_no_run_is_refused(tmp_path: Path, refused: Refused) -> None:
    assert "no run there to resume" in refused("train", "--resume", "-o", tmp_path / "nowhere")
