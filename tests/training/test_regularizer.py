from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from medstyle_gan.config import Config, load_config
from medstyle_gan.data.datamodule import UnpairedDataModule
from medstyle_gan.data.phantom import PhantomFolders, write_phantom_collections
from medstyle_gan.errors import UserError
from medstyle_gan.methods.vgg_regularizer import VGGRegularizer
from medstyle_gan.methods.vgg_views import Views
from medstyle_gan.networks.precision import Precision
from medstyle_gan.training import regularizer as module
from medstyle_gan.training.regularizer import load_features, make_regularizer

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> PhantomFolders:
    return write_phantom_collections(
        tmp_path_factory.mktemp("sub-900"), subjects=3, pairs=0, seed=0, shape=(40, 40, 8)
    )


def settings(phantoms: PhantomFolders, cache: Path, *overrides: str) -> Config:
    options: dict[str, object] = {
        "data.scans": str(phantoms.scans),
        "data.style": str(phantoms.style),
        "data.cache.folder": str(cache),
        "data.spacing": [None, None, None],
        "data.sample_size": [32, 32],
        "data.validation_fraction": 0,
        "loss.perceptual.weight": 0,
        "loss.perceptual.reconstruction_weight": 0,
        "loss.style.layers": ["relu1_1"],
        "vgg.weights": "random:0",
        "training.steps": 300,
    }
    return load_config(None, overrides, options=options)


def made(
    config: Config, precision: Precision = "fp32", device: torch.device = CPU
) -> tuple[VGGRegularizer, UnpairedDataModule]:
    data = UnpairedDataModule(config)
    data.prepare_data()
    data.setup("fit")
    regularizer = make_regularizer(config, load_features(config), data, device, precision)
    assert regularizer is not None
    return regularizer, data


@pytest.mark.parametrize("crop", [None, 12])
def test_collection_grams_are_those_of_what_is_seen_of_the_images_that_training_draws(
    phantoms: PhantomFolders, tmp_path: Path, crop: int | None
) -> None:
    config = settings(phantoms, tmp_path, f"vgg.crop={'null' if crop is None else crop}")
    regularizer, data = made(config)
    vgg = regularizer.vgg
    views = Views(config.vgg, seed=9)
    grams: dict[str, list[torch.Tensor]] = {"scan": [], "style": []}
    for step, batch in enumerate(data.train_dataloader()):
        view = views.choose((32, 32), 1, step)
        for domain, found in grams.items():
            (seen,) = view(batch[domain])
            features = vgg(seen)["relu1_1"].flatten(2).double()
            found.append(features @ features.mT / features[0].numel())
    for domain, found in grams.items():
        every = torch.cat(found)
        target = regularizer.collection_targets[domain]["relu1_1"]
        # The mean of 48 draws lies within a few standard errors of the mean of all 300.
        error = every.std(dim=0) / 48**0.5
        assert ((target - every.mean(dim=0)).abs() <= 5 * error + 1e-7).all()


def test_a_training_that_starts_again_takes_the_same_grams_from_the_cache(
    phantoms: PhantomFolders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = made(settings(phantoms, tmp_path))
    (entry,) = tmp_path.glob("*.safetensors")
    content = entry.read_bytes()
    assert b"sub-" not in content  # the subjects', and their folder's name
    assert b"sub-" not in entry.name.encode()

    def never(*args: Any) -> Any:
        raise AssertionError("made again")

    monkeypatch.setattr(module, "collection_grams", never)
    # Neither how long it trains, nor where files are and who reads them, changes the samples.
    others = ["training.steps=500", "data.workers=2", "loss.style.weight=3"]
    again, _ = made(settings(phantoms, tmp_path, *others))
    for domain, grams in first.collection_targets.items():
        for layer, gram in grams.items():
            assert torch.equal(again.collection_targets[domain][layer], gram)


@pytest.mark.parametrize(
    "override",
    [
        "training.seed=1",
        "vgg.weights=random:1",
        "vgg.crop=16",
        "vgg.scale=0.5",
        "loss.style.layers=[relu1_2]",
        "data.augmentation.flip=0",
        "data.sample_size=[24,24]",
        "data.intensity.style.upper=99",
        "precision",
        "sampling",
    ],
)
def test_whatever_changes_the_grams_makes_them_again(
    phantoms: PhantomFolders, tmp_path: Path, override: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(settings(phantoms, tmp_path))
    if override == "sampling":  # another version of the programs that draw
        draw = module.UnpairedDataset.__getitem__
        monkeypatch.setattr(
            module.UnpairedDataset, "__getitem__", lambda self, index: draw(self, index + 1)
        )
    overrides = [override] if "=" in override else []
    made(settings(phantoms, tmp_path, *overrides), "bf16" if override == "precision" else "fp32")
    assert len(list(tmp_path.glob("*.safetensors"))) == 2


@pytest.mark.parametrize("target", ["batch", "collection"])
def test_no_grams_are_made_that_nobody_looks_at(
    phantoms: PhantomFolders, tmp_path: Path, target: str
) -> None:
    weight = 0 if target == "collection" else 1
    overrides = [f"loss.style.weight={weight}", "loss.perceptual.weight=1"]
    config = settings(
        phantoms,
        tmp_path,
        *(*overrides, f"loss.style.target={target}", "loss.perceptual.layers=[relu1_1]"),
    )
    regularizer, _ = made(config)
    assert regularizer.collection_targets == {}
    assert not list(tmp_path.glob("*.safetensors"))


@pytest.mark.parametrize(
    ("overrides", "seen", "fields"),
    [
        ([], "8x8", "data.sample_size"),
        (["data.sample_size=[64,64]", "vgg.crop=8"], "8x8", "data.sample_size or vgg.crop"),
        (["data.sample_size=[64,64]", "vgg.scale=0.1"], "6x6", "data.sample_size or vgg.scale"),
    ],
)
def test_what_is_seen_must_reach_the_deepest_layer(
    overrides: list[str], seen: str, fields: str
) -> None:
    config = load_config(None, ["vgg.weights=random:0", "data.sample_size=[8,8]", *overrides])
    with pytest.raises(UserError) as caught:
        load_features(config)
    assert f"images of {seen} are too small for VGG-19's relu5_1" in str(caught.value)
    assert f"take a larger {fields}, or shallower" in str(caught.value)
