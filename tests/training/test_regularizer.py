from __future__ import annotations

from pathlib import Path

import torch

from medstyle_gan.config import load_config
from medstyle_gan.data.datamodule import UnpairedDataModule
from medstyle_gan.data.phantom import write_phantom_collections
from medstyle_gan.training.regularizer import load_features, make_regularizer


def test_collection_grams_are_those_of_the_images_that_training_draws(tmp_path: Path) -> None:
    folders = write_phantom_collections(tmp_path / "data", subjects=3, seed=0, shape=(40, 40, 8))
    options: dict[str, object] = {
        "data.scans": str(folders.scans),
        "data.style": str(folders.style),
        "data.cache.folder": str(tmp_path / "cache"),
        "data.spacing": [None, None, None],
        "data.sample_size": [32, 32],
        "data.validation_fraction": 0,
        "loss.perceptual.weight": 0,
        "loss.perceptual.reconstruction_weight": 0,
        "loss.style.layers": ["relu1_1"],
        "vgg.weights": "random:0",
        "training.steps": 300,
    }
    config = load_config(None, [], options=options)
    data = UnpairedDataModule(config)
    data.prepare_data()
    data.setup("fit")
    vgg = load_features(config)
    regularizer = make_regularizer(config, vgg, data, torch.device("cpu"), "fp32")
    assert vgg is not None
    assert regularizer is not None
    grams: dict[str, list[torch.Tensor]] = {"scan": [], "style": []}
    for batch in data.train_dataloader():
        for domain, found in grams.items():
            features = vgg(batch[domain])["relu1_1"].flatten(2).double()
            found.append(features @ features.mT / (64 * 32 * 32))
    for domain, found in grams.items():
        every = torch.cat(found)
        target = regularizer.collection_targets[domain]["relu1_1"]
        # The mean of 48 draws lies within a few standard errors of the mean of all 300.
        error = every.std(dim=0) / 48**0.5
        assert ((target - every.mean(dim=0)).abs() <= 5 * error + 1e-7).all()
