from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from medstyle_gan.config import Config, load_config
from medstyle_gan.data.cache import prepare_collection
from medstyle_gan.data.cached_volume import CachedCollection
from medstyle_gan.data.collection import find_collection
from medstyle_gan.data.intensity import FittedScale
from medstyle_gan.data.phantom import PhantomFolders, write_phantom_collections
from medstyle_gan.inference import Translator


class Mapped(nn.Module):
    """A generator that applies a fixed map to every pixel."""

    divisor = 4

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory) -> PhantomFolders:
    return write_phantom_collections(
        tmp_path_factory.mktemp("phantoms"), subjects=2, pairs=2, seed=1, shape=(40, 40, 8)
    )


@pytest.fixture(scope="session")
def config(phantoms: PhantomFolders, tmp_path_factory) -> Config:
    return load_config(
        options={
            "data.scans": str(phantoms.scans),
            "data.style": str(phantoms.style),
            "data.pairs.folder": str(phantoms.pairs),
            "data.spacing": [6.0, 6.0, None],
            "data.sample_size": [32, 32],
            "data.cache.folder": str(tmp_path_factory.mktemp("cache")),
        }
    )


@pytest.fixture(scope="session")
def style(config: Config) -> CachedCollection:
    found = find_collection(config.data.style, config.data.subject_pattern)
    return prepare_collection(found, config.data, "style")


@pytest.fixture
def make_translator(config: Config):
    """Makes a translator around a map of unit values."""

    def make(function, half_range: float = 500.0) -> Translator:
        scale = FittedScale(center=half_range, half_range=half_range, clip=True)
        return Translator.from_generators(
            config,
            {d: Mapped(function) for d in ("scan_to_style", "style_to_scan")},
            scales={"scan": scale, "style": scale},
            channels={"scan": 1, "style": 1},
            integer={"scan": False, "style": False},
            background={"scan": 0.0, "style": 0.0},
            precision="fp32",
        )

    return make


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def pair_folder(phantoms: PhantomFolders, tmp_path: Path) -> Path:
    """A copy of the pairs that a test may spoil."""
    import shutil

    return Path(shutil.copytree(phantoms.pairs, tmp_path / "pairs"))
