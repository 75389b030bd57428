from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from medstyle_gan.config import Config, dump_config, load_config
from medstyle_gan.config.fields import section_models, setting_paths
from medstyle_gan.config.inpainting_section import InpaintingStartConfig
from medstyle_gan.config.warm_start_section import WarmStartConfig

RECIPES = sorted((Path(__file__).resolve().parents[2] / "configs").glob("*.yaml"))


def round_trip(config: Config, folder: Path) -> Config:
    path = folder / "dumped.yaml"
    path.write_text(dump_config(config), encoding="utf-8")
    return load_config(path)


def test_the_recipes_are_there() -> None:
    assert {"mr_t1_to_t2", "mr_scanner_harmonization", "cbct_to_ct"} <= {p.stem for p in RECIPES}


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_loads_and_survives_the_round_trip(recipe: Path, tmp_path: Path) -> None:
    config = load_config(recipe)
    assert config != Config()
    assert round_trip(config, tmp_path) == config


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_leaves_data_and_weights_to_the_user(recipe: Path) -> None:
    config = load_config(recipe)
    assert config.data.scans is config.data.style is config.data.pairs.folder is None
    assert config.vgg.weights == "imagenet"


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["generator.name=unet", "generator.levels=3"],
        ["data.intensity.scan.name=window", "data.intensity.style.name=zscore"],
        ["data.intensity.scan.name=fixed"],
        ["method.name=gatys", "loss.style.layer_weights=[1,1,1,0,2]", "stylize.keep=colour"],
        ["data.spacing=[null,null,null]", "data.scans=[a, b]"],
        ["method.generator_learning_rate=1e-10", "method.ema_decay=0.9999999999999999"],
    ],
    ids=lambda overrides: " ".join(overrides) or "defaults",
)
def test_what_is_dumped_loads_as_the_same_config(overrides: list[str], tmp_path: Path) -> None:
    config = load_config(None, overrides)
    assert round_trip(config, tmp_path) == config


NASTY_TEXTS = [
    *("off", "yes", "1e3", "1_000", "0x10", "010", "1:30", "2024-01-01", "null", "~", "", ".inf"),
    *("a # b", "#", "a: b", "- a", "[a", "{a", "*a", "&a", "!a", "%a", "@a", "=", "<<", "?"),
    *(" a ", "'", '"', "\\", "a\nb", "\t", "\x1b", "\x85", "été", "数据", "a" * 300, "x y " * 100),
]


@pytest.mark.parametrize("text", NASTY_TEXTS)
def test_any_text_survives_the_round_trip(text: str, tmp_path: Path) -> None:
    options = {"data.scans": text, "data.style": [text, "b"], "logging.run_name": text}
    config = load_config(options=options)
    assert round_trip(config, tmp_path) == config


def test_other_yaml_readers_read_the_same() -> None:
    tree = yaml.safe_load(dump_config(load_config(options={"logging.run_name": "1e3"})))
    assert tree["logging"]["wandb"] == "off"
    assert Config.model_validate(tree).logging.run_name == "1e3"


def test_every_setting_explains_itself() -> None:
    lines = dump_config(Config()).splitlines()
    bare = [line.strip() for line in lines if "  # " not in line]
    assert {line.partition(":")[0] for line in bare} == {"name"}


def test_the_dump_holds_every_setting_of_the_defaults() -> None:
    dumped = [line.strip().partition(":")[0] for line in dump_config(Config()).splitlines()]
    for name, field in Config.model_fields.items():
        assert name in dumped
        assert section_models(field)
    # Of a union the dump holds the default's variant alone.
    others = InpaintingStartConfig.model_fields.keys() - WarmStartConfig.model_fields.keys()
    for path in setting_paths(type(Config().training)):
        if path.rpartition(".")[2] in others:
            continue
        assert path.rpartition(".")[2] in dumped
