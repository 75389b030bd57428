from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from medstyle_gan.cli.options import (
    add_collection_arguments,
    add_config_arguments,
    collection_options,
    resolve_config,
    split_overrides,
)
from medstyle_gan.config import load_config
from medstyle_gan.errors import UserError


def parse(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_config_arguments(parser)
    return parser.parse_intermixed_args(arguments)


def test_options_win_over_the_file_and_overrides_join_them(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("data: {scans: file, style: file}\ntraining: {steps: 1}\n")
    args = parse("training.steps=2", "--config", str(path), "training.seed=3")
    config = resolve_config(args, {"data.scans": "option", "data.style": None})
    assert (config.data.scans, config.data.style) == ("option", "file")
    assert (config.training.steps, config.training.seed) == (2, 3)


def test_a_folder_whose_name_looks_like_a_number_stays_text() -> None:
    assert resolve_config(parse(), {"data.scans": "001"}).data.scans == "001"


def test_an_option_and_an_override_of_one_setting_conflict() -> None:
    with pytest.raises(UserError, match=r"data\.scans=B: an option gives the same setting"):
        resolve_config(parse("data.scans=B"), {"data.scans": "A"})


def test_the_printed_config_is_accepted_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        resolve_config(parse("generator.name=unet", "--print-config"), {"logging.wandb": "off"})
    assert end.value.code == 0
    path = tmp_path / "printed.yaml"
    path.write_text(capsys.readouterr().out)
    assert resolve_config(parse("--config", str(path))) == load_config(
        None, ["generator.name=unet"]
    )


def test_relative_paths_in_a_config_stay_as_written(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("data: {scans: T1}\n")
    assert resolve_config(parse("--config", str(path))).data.scans == "T1"


def test_overrides_are_told_from_files() -> None:
    tokens = [
        "run",
        "inference.batch_size=2",
        "a=b.nii",
        "scans/x=1.nii",
        "A.b=c",
        "loss.style.weight=",
    ]
    others, overrides = split_overrides(tokens)
    assert overrides == ["inference.batch_size=2", "loss.style.weight="]
    assert others == ["run", "a=b.nii", "scans/x=1.nii", "A.b=c"]


def test_collections_take_several_paths_and_settings_may_follow_them(tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    add_collection_arguments(parser)
    add_config_arguments(parser)
    (tmp_path / "a=b").mkdir()
    folder = str(tmp_path / "a=b")
    args = parser.parse_intermixed_args(
        ["training.steps=1", "--scans", "x.nii", "y.nii", "--style", folder, "lr=3", "data.x=1"]
    )
    assert collection_options(args) == {"data.scans": ["x.nii", "y.nii"], "data.style": folder}
    assert args.overrides == ["training.steps=1", "lr=3", "data.x=1"]
    assert collection_options(parser.parse_intermixed_args([])) == {}
