"""What a pass is foretold to take, against what it is seen to take."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from medstyle_gan.config import Config
from medstyle_gan.inference.network import feature_maps, foretelling, streaming
from medstyle_gan.inference.network.feature_maps import FeatureMemory, Widest
from medstyle_gan.inference.network.foretelling import forward_bytes, streamed_bytes
from medstyle_gan.inference.network.network import Network
from medstyle_gan.inference.network.streaming import stream
from medstyle_gan.networks import build_generator

from ..conftest import make_config

GENERATORS: dict[str, dict[str, Any]] = {
    "resize": {"name": "resnet", "ngf": 4, "blocks": 2},
    "transpose": {"name": "resnet", "ngf": 4, "blocks": 1, "upsampling": "transpose"},
    "unet": {"name": "unet", "ngf": 4, "levels": 3},
}
SHAPES = [(1, 1, 24, 16, 32), (10, 1, 24, 16)]
GIBIBYTE = 2**30


class Chain(nn.Module):
    """Two pointwise layers: when the second runs, its input and output are alive."""

    divisor = 1

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, channels, 1)
        self.second = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x))


def network_of(
    generator: nn.Module, dims: int = 2, precision: str = "fp32", **inference: Any
) -> Network:
    config = make_config(data={"dims": dims, "sample_size": (8,) * dims}, inference={**inference})
    return Network(
        generator,
        1,
        1,
        config.data,
        config.inference,
        torch.device("cpu"),
        precision,  # type: ignore[arg-type]
    )


def network_called(name: str, dims: int, **inference: Any) -> Network:
    config = Config.model_validate({"generator": GENERATORS[name]})
    generator = build_generator(config.generator, 1, 1, dims).eval()
    statistics = {} if dims == 3 else {"slice_statistics": 2}
    return network_of(generator, dims, **statistics, **inference)


def test_a_forward_pass_is_foretold_by_what_is_alive_at_once() -> None:
    network = network_of(Chain(16))
    once = forward_bytes(network, (1, 1, 32, 32))
    assert once == 3 * (2 * 16 * 32 * 32 * 4) + 32 * 32 * 4
    assert forward_bytes(network, (4, 1, 32, 32)) == 4 * once
    half = forward_bytes(network_of(Chain(16), precision="bf16"), (1, 1, 32, 32))
    assert 0.4 * once < half < 0.7 * once


def test_foretelling_takes_no_memory_and_leaves_the_generator_alone() -> None:
    generator = Chain(64)
    before = {name: tensor.clone() for name, tensor in generator.state_dict().items()}
    assert forward_bytes(network_of(generator), (64, 1, 4096, 4096)) > 500 * GIBIBYTE
    for name, tensor in generator.state_dict().items():
        assert torch.equal(tensor, before[name])
    large = network_called("resize", 3, feature_memory=1000.0)
    assert streamed_bytes(large, (1, 1, 2048, 2048, 2048)) > 150 * GIBIBYTE


@pytest.mark.parametrize("limit", [1.0, 3e-4])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", GENERATORS)
def test_kept_maps_and_rows_at_once_are_those_that_are_foretold(
    name: str, shape: tuple[int, ...], limit: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, int] = {"kept": 0, "rows": 0, "one row": 0}

    class Watched(FeatureMemory):
        def _store(self, rows: int, like: Tensor) -> Any:
            store = super()._store(rows, like)
            seen["kept"] = max(seen["kept"], self.used)
            return store

    class WatchedWidest(Widest):
        def __setattr__(self, field: str, value: int) -> None:
            object.__setattr__(self, field, value)
            seen["rows"] = max(seen["rows"], 4 * value)

    monkeypatch.setattr(streaming, "FeatureMemory", Watched)
    monkeypatch.setattr(feature_maps, "Widest", WatchedWidest)
    for module in (feature_maps, foretelling):
        monkeypatch.setattr(module, "ROWS_BYTES", 200_000)
    monkeypatch.setattr(foretelling, "_LAYERS_AT_ONCE", 1)
    network = network_called(name, len(shape) - 2, feature_memory=limit)
    stream(network, np.zeros(shape, np.float32))
    kept, rows = seen["kept"], seen["rows"]
    foretold = streamed_bytes(network, shape)
    # The widest maps have 4 channels; of a volume a row needs six others around it.
    halo = 0 if len(shape) == 4 else 6 * 4 * (16 + 6) * (32 + 6) * 4
    assert foretold - 200_000 - halo <= kept <= foretold
    assert kept <= limit * GIBIBYTE
    assert 0 < rows <= foretold - kept + halo


def test_rows_at_once_are_counted_where_the_maps_are_widest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The last layer makes one channel of many: rows of that one would be far too many.
    most = 0

    class WatchedConv(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            nonlocal most
            made = super().forward(x)
            most = max(most, x.nbytes, made.nbytes)
            return made

    monkeypatch.setattr(feature_maps, "ROWS_BYTES", 100_000)
    layers = nn.Sequential(WatchedConv(1, 32, 1), nn.ReLU(), WatchedConv(32, 1, 1)).eval()
    layers.divisor = 1  # type: ignore[assignment]
    network = network_of(layers, slice_statistics=2)
    images = np.random.default_rng(0).uniform(-1, 1, (40, 1, 16, 16)).astype(np.float32)
    streamed = stream(network, images)
    assert 50_000 < most <= 100_000
    with torch.no_grad():
        np.testing.assert_allclose(streamed, layers(torch.from_numpy(images)), atol=1e-5)
