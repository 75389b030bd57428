from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors import safe_open

from medstyle_gan.config import Config
from medstyle_gan.data.intensity_map import LEVELS, IntensityMap
from medstyle_gan.data.phantom import write_phantom_collections
from medstyle_gan.errors import UserError
from medstyle_gan.inference import (
    Translator,
    describe_collections,
    load_bundle,
    model_hash,
    save_bundle,
    without_local_paths,
)
from medstyle_gan.volumes import read_volume

from ..conftest import CANARY, make_bundle, make_config


def test_bundle_comes_back_as_it_was(tmp_path: Path) -> None:
    bundle = replace(
        make_bundle(channels={"style": 3}, pictures={"style": True}),
        fingerprint={"scan": {"volumes": np.int64(3), "spacing": (1.0, np.float32(2.0))}},
        intensity_map=IntensityMap.read(np.linspace(-0.3, 0.7, LEVELS).tolist()),
    )
    loaded = load_bundle(save_bundle(bundle, tmp_path / "model"))
    assert loaded.config == bundle.config
    assert loaded.intensity_map == bundle.intensity_map
    for field in ["channels", "scales", "integer", "background", "pictures", "steps", "versions"]:
        assert getattr(loaded, field) == getattr(bundle, field), field
    assert loaded.fingerprint == {"scan": {"volumes": 3, "spacing": [1.0, 2.0]}}
    assert loaded.state.keys() == bundle.state.keys()
    for name, tensor in bundle.state.items():
        torch.testing.assert_close(loaded.state[name], tensor, rtol=0, atol=0)


def test_bundle_is_safetensors_and_yaml_and_nothing_else(tmp_path: Path) -> None:
    folder = save_bundle(make_bundle(), tmp_path / "model")
    assert sorted(p.name for p in folder.iterdir()) == ["generators.safetensors", "model.yaml"]
    with safe_open(folder / "generators.safetensors", "pt") as file:
        assert set(file.keys()) == set(make_bundle().state)
    assert yaml.safe_load((folder / "model.yaml").read_text())["format_version"] == 1


def test_no_local_path_gets_into_the_bundle(tmp_path: Path) -> None:
    paths = {
        "data": {
            "scans": f"/data/{CANARY}/scans",
            "style": [f"/data/{CANARY}/a.nii.gz"],
            "pairs": {"folder": f"/data/{CANARY}/pairs"},
            "cache": {"folder": f"/data/{CANARY}/cache"},
        },
        "vgg": {"weights": f"/home/{CANARY}/vgg19.pth"},
    }
    folder = save_bundle(make_bundle(make_config(**paths)), tmp_path / CANARY)
    for file in folder.iterdir():
        assert CANARY.encode() not in file.read_bytes()


@pytest.mark.parametrize("weights", ["imagenet", "random:3"])
def test_weights_that_are_no_path_are_kept(weights: str) -> None:
    config = Config.model_validate({"vgg": {"weights": weights}})
    assert without_local_paths(config).vgg.weights == weights


def test_run_folder_means_the_model_in_it(tmp_path: Path) -> None:
    bundle = make_bundle()
    save_bundle(bundle, tmp_path / "run" / "model")
    assert model_hash(load_bundle(tmp_path / "run").state) == model_hash(bundle.state)


def test_hash_tells_values_names_and_shapes_apart() -> None:
    tensor = torch.arange(6.0)
    hashes = {
        model_hash(state)
        for state in (
            {"a": tensor},
            {"b": tensor},
            {"a": tensor.reshape(2, 3)},
            {"a": tensor.double()},
            {"a": tensor + 1},
        )
    }
    assert len(hashes) == 5
    both = {"a": tensor, "b": tensor + 1}
    assert model_hash(both) == model_hash(dict(reversed(both.items())))


def test_saving_again_replaces_the_model(tmp_path: Path) -> None:
    save_bundle(make_bundle(seed=0), tmp_path / "model")
    save_bundle(make_bundle(seed=1), tmp_path / "model")
    loaded = load_bundle(tmp_path / "model")
    assert model_hash(loaded.state) == model_hash(make_bundle(seed=1).state)


def _edit(folder: Path, **changes: Any) -> None:
    facts = yaml.safe_load((folder / "model.yaml").read_text())
    for name, value in changes.items():
        if value is None:
            del facts[name]
        else:
            facts[name] = value
    (folder / "model.yaml").write_text(yaml.safe_dump(facts))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format_version": 2}, r"format 2 is newer .* update medstyle-gan"),
        ({"format_version": None}, "no format_version"),
        ({"scales": None}, "missing 'scales'"),
        ({"config": {"nonsense": 1}}, "not what medstyle train writes"),
        ({"channels": [1, 1]}, "not what medstyle train writes"),
        ({"hash": "0" * 64}, "weights .* are not those"),
    ],
)
def test_edited_description_is_refused(model: Path, changes: dict[str, Any], message: str) -> None:
    _edit(model, **changes)
    with pytest.raises(UserError, match=message):
        load_bundle(model)


def test_damaged_files_are_refused(model: Path) -> None:
    weights = model / "generators.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="damaged"):
        load_bundle(model)
    (model / "model.yaml").write_text("{")
    with pytest.raises(UserError, match="not readable"):
        load_bundle(model)
    (model / "model.yaml").write_text("- a list")
    with pytest.raises(UserError, match="not the description"):
        load_bundle(model)


def test_weights_of_another_architecture_are_refused() -> None:
    bundle = make_bundle()
    other = make_config(generator={"name": "resnet", "ngf": 8, "blocks": 1})
    with pytest.raises(UserError, match="do not fit its own config"):
        Translator.load(replace(bundle, config=other))


def test_what_is_no_model_folder_is_explained(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such model folder"):
        load_bundle(tmp_path / "missing")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="a model is a folder"):
        load_bundle(tmp_path / "file")
    with pytest.raises(UserError, match="not a model folder"):
        load_bundle(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(UserError, match="finish it with medstyle train --resume"):
        load_bundle(tmp_path)


def test_folder_that_cannot_be_written_is_a_user_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=re.escape(str(tmp_path / "file"))):
        save_bundle(make_bundle(), tmp_path / "file" / "model")


def test_prepared_collections_say_all_that_a_translator_needs(tmp_path: Path) -> None:
    from medstyle_gan.data import find_collection, prepare_collection

    folders = write_phantom_collections(tmp_path, subjects=2, pairs=0, shape=(32, 32, 8))
    config = make_config(data={"spacing": (None, None, None), "sample_size": (16, 16)})
    prepared = {
        domain: prepare_collection(
            find_collection(str(folder), config.data.subject_pattern), config.data, domain
        )
        for domain, folder in (("scan", folders.scans), ("style", folders.style))
    }
    known = describe_collections(prepared["scan"], prepared["style"])
    assert known["channels"] == {"scan": 1, "style": 1}
    assert known["pictures"] == {"scan": False, "style": False}
    native = np.concatenate([read_volume(p).array.ravel() for p in folders.style.iterdir()])
    scale = known["scales"]["style"]
    assert abs(scale.center - scale.half_range) < 0.2 * scale.half_range  # from about 0
    assert 0.5 * native.max() < scale.center + scale.half_range < 1.1 * native.max()
    translator = Translator.load(make_bundle(config, **known))
    path = next(folders.scans.iterdir())
    assert translator(path).array.shape == read_volume(path).array.shape
