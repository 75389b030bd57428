from __future__ import annotations

import copy
import pickle
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from medstyle_gan.cli import main
from medstyle_gan.errors import UserError
from medstyle_gan.inference import Bundle, Translator, load_bundle, model_hash, save_bundle
from medstyle_gan.inference.bundles.bundle import Graph
from medstyle_gan.inference.bundles.generators import restore_generator
from medstyle_gan.inference.bundles.onnx_graphs import OnnxGenerator, graph_of, with_graphs
from medstyle_gan.inference.network.streaming import can_stream

from ..conftest import make_bundle, make_config

pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")


@pytest.fixture(scope="module")
def weights() -> Bundle:
    """Weights whose two directions differ, and whose style is in colour."""
    return make_bundle(channels={"style": 3})


@pytest.fixture(scope="module")
def graphs(weights: Bundle) -> Bundle:
    return with_graphs(weights)


@pytest.fixture
def folder(graphs: Bundle, tmp_path: Path) -> Path:
    return save_bundle(graphs, tmp_path / "onnx")


def compare(network: nn.Module, graph: nn.Module, *shape: int) -> None:
    images = torch.rand(shape, generator=torch.Generator().manual_seed(sum(shape))) * 2 - 1
    with torch.no_grad():
        torch.testing.assert_close(graph(images), network(images), rtol=0, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("direction", ["scan_to_style", "style_to_scan"])
def test_slices_of_every_size_and_number_come_out_as_from_the_network(
    weights: Bundle, graphs: Bundle, direction: Any
) -> None:
    network, graph = restore_generator(weights, direction), OnnxGenerator(graphs.graphs[direction])
    assert (graph.divisor, graph.minimum_size) == (network.divisor, network.minimum_size)
    channels = {"scan_to_style": 1, "style_to_scan": 3}[direction]
    for batch, *size in [(1, 8, 8), (1, 40, 12), (3, 12, 40), (5, 64, 64), (2, 8, 96)]:
        compare(network, graph, batch, channels, *size)


@pytest.mark.slow
def test_an_empty_slice_comes_out_as_from_the_network(weights: Bundle, graphs: Bundle) -> None:
    network = restore_generator(weights, "scan_to_style")
    graph = OnnxGenerator(graphs.graphs["scan_to_style"])
    for value in (-1.0, -0.3, 0.7):
        images = torch.full((2, 1, 20, 12), value)
        images[1, 0, 3, 4] = 0
        with torch.no_grad():
            torch.testing.assert_close(graph(images), network(images), rtol=0, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    "generator",
    [{"name": "unet", "ngf": 2, "levels": 2}, {"name": "resnet", "ngf": 2, "blocks": 1}],
    ids=["unet", "resnet"],
)
def test_volumes_of_every_size_come_out_as_from_the_network(generator: dict[str, Any]) -> None:
    config = make_config(data={"dims": 3, "sample_size": (8, 8, 8)})
    config = config.model_validate({**config.model_dump(), "generator": generator})
    network = restore_generator(make_bundle(config), "scan_to_style")
    graph = OnnxGenerator(graph_of(network, dims=3))
    for batch, *size in [(1, 8, 8, 8), (2, 12, 8, 20), (3, 8, 16, 12)]:
        compare(network, graph, batch, 1, *size)
    # A translator says so where it has to cut a volume into windows for it.
    assert not can_stream(graph)
    assert can_stream(network)


@pytest.mark.slow
def test_bundle_of_graphs_comes_back_and_tells_what_it_was_made_of(
    weights: Bundle, graphs: Bundle, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["model.yaml", "scan_to_style.onnx", "style_to_scan.onnx"]
    assert sorted(p.name for p in folder.iterdir()) == names
    loaded = load_bundle(folder)
    assert loaded.hash == model_hash(weights.state)
    assert loaded.graphs == graphs.graphs
    assert loaded.parameters == weights.parameters
    assert loaded.config == weights.config
    assert main(["info", str(folder)]) == 0
    card = capsys.readouterr().out
    assert re.search(r"^format +onnx$", card, re.MULTILINE)
    assert loaded.hash in card
    assert f"{weights.parameters['scan_to_style']:,} parameters, grey to colour" in card


@pytest.mark.slow
def test_no_line_of_source_gets_into_a_graph(graphs: Bundle, repository: Path) -> None:
    for graph in graphs.graphs.values():
        for text in (str(repository), "site-packages", "resnet.py", "forward"):
            assert text.encode() not in graph.model


@pytest.mark.slow
def test_translates_like_the_weights_do(
    weights: Bundle, folder: Path, write_scan: Any, tmp_path: Path
) -> None:
    path = write_scan()
    expected = Translator.load(weights, device="cpu", precision="fp32")
    translator = Translator.load(folder)
    assert translator.precision == "fp32"
    difference = translator(path).array.astype(float) - expected(path).array
    assert np.abs(difference).max() <= 1  # of 255: a value at a half may be rounded either way
    out = tmp_path / "out"
    assert main(["translate", str(folder), str(path), "-o", str(out)]) == 0
    assert (out / path.name).exists()


@pytest.mark.slow
def test_copies_and_pickles_work(folder: Path, write_scan: Any) -> None:
    path = write_scan()
    translator = Translator.load(folder)
    expected = translator(path).array
    for copied in (copy.deepcopy(translator), pickle.loads(pickle.dumps(translator))):
        np.testing.assert_array_equal(copied(path).array, expected)


@pytest.mark.slow
def test_damaged_graph_and_wrong_size_are_refused(folder: Path) -> None:
    graph = Translator.load(folder).generators["scan_to_style"]
    with pytest.raises(UserError, match="multiples of 4"):
        graph(torch.zeros(1, 1, 10, 8))
    with pytest.raises(UserError, match="fp32"):
        Translator.load(folder, precision="bf16")
    path = folder / "style_to_scan.onnx"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"style_to_scan\.onnx: not the graph"):
        load_bundle(folder)


def test_missing_packages_are_named_with_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match=r"onnxruntime, .*medstyle-gan\[onnx\]"):
        OnnxGenerator(Graph(b"", 4, 8, 0))
    with pytest.raises(UserError, match=r"onnxruntime, .*medstyle-gan\[onnx\]"):
        with_graphs(make_bundle())
