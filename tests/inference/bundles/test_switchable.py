"""A bundle whose two directions share one network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser

from medstyle_gan.inference import (
    Bundle,
    Translator,
    describe_model,
    format_card,
    joined_state,
    load_bundle,
    save_bundle,
)
from medstyle_gan.inference.archive.memory import MemoryPlan
from medstyle_gan.inference.bundles.generators import restore_generator, restore_generators
from medstyle_gan.inference.bundles.monai_bundle import save_monai_bundle
from medstyle_gan.inference.bundles.onnx_graphs import OnnxGenerator, with_graphs
from medstyle_gan.inference.network.streaming import stream
from medstyle_gan.inference.outputs.record import hash_of_model
from medstyle_gan.networks import SwitchableGenerator, parameters_of
from medstyle_gan.networks.winograd import WINOGRAD_CHANNELS, WinogradConv

from ..conftest import facts, make_bundle, make_config

DIRECTIONS: Any = ("scan_to_style", "style_to_scan")
SWITCHABLE = {"name": "switchable", "ngf": 4, "blocks": 1, "code_size": 4}


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return make_bundle(make_config(generator=SWITCHABLE))


def images(count: int = 2) -> torch.Tensor:
    return torch.rand(count, 1, 16, 12, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_weights_are_stored_once_and_come_back_for_both_directions(
    bundle: Bundle, tmp_path: Path
) -> None:
    loaded = load_bundle(save_bundle(bundle, tmp_path / "model"))
    assert loaded.hash == bundle.hash
    owners = {name.partition(".")[0] for name in loaded.state}
    assert owners == {"shared", *DIRECTIONS}
    generators = restore_generators(loaded)
    stored = sum(tensor.numel() for tensor in loaded.state.values())
    assert stored == sum(p.numel() for p in parameters_of(generators.values()))
    for direction in DIRECTIONS:
        alone = restore_generator(bundle, direction)
        with torch.no_grad():
            expected, made = alone(images()), generators[direction](images())
        torch.testing.assert_close(made, expected, rtol=0, atol=0)
    with torch.no_grad():
        there, back = (generators[d](images()) for d in DIRECTIONS)
    assert (there - back).abs().max() > 0.01


def test_a_loaded_translator_holds_the_shared_layers_once(bundle: Bundle, tmp_path: Path) -> None:
    translator = Translator.load(save_bundle(bundle, tmp_path / "model"), device="cpu")
    there, back = (translator.generators[d] for d in DIRECTIONS)
    assert isinstance(there, SwitchableGenerator)
    assert there.layers is back.layers
    plan = MemoryPlan(translator, "scan_to_style", limit=2**33, workers=1)
    merge = sum(b.nbytes for b in there.layers.buffers())
    assert (
        plan._weights(uncertainty=False)
        == 4 * sum(t.numel() for t in bundle.state.values()) + merge
    )


def test_winograd_convolutions_are_made_once_for_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)  # a CPU without AVX-512
    wide = {**SWITCHABLE, "ngf": WINOGRAD_CHANNELS // 4}
    bundle = make_bundle(make_config(generator=wide))
    translator = Translator.load(save_bundle(bundle, tmp_path / "m"), "cpu", precision="fp32")
    for direction in DIRECTIONS:
        generator = translator.generators[direction]
        made = [m for m in generator.modules() if isinstance(m, WinogradConv)]
        assert len(made) == 2
        with torch.no_grad():
            expected = restore_generator(bundle, direction)(images())
            torch.testing.assert_close(generator(images()), expected, rtol=0, atol=1e-4)


def test_hash_is_the_same_without_a_bundle_and_changes_with_every_part(bundle: Bundle) -> None:
    generators = restore_generators(bundle)
    translator = Translator.from_generators(bundle.config, generators, **facts())
    assert hash_of_model(translator) == bundle.hash
    for parameter in parameters_of(generators.values()):
        before = parameter.data.clone()
        parameter.data.add_(1)
        assert hash_of_model(translator) != bundle.hash
        parameter.data.copy_(before)
    assert hash_of_model(translator) == bundle.hash


def test_networks_that_share_nothing_have_no_shared_weights() -> None:
    state = {"a": torch.ones(2), "b": torch.zeros(3)}
    other = {"a": torch.ones(2), "b": state["b"]}
    joined = joined_state({"scan_to_style": state, "style_to_scan": other})
    assert set(joined) == {"shared.b", "scan_to_style.a", "style_to_scan.a"}


def test_card_tells_what_is_shared(bundle: Bundle) -> None:
    card = describe_model(bundle)
    shared = sum(t.numel() for name, t in bundle.state.items() if name.startswith("shared."))
    assert card["networks"]["shared_parameters"] == shared
    assert card["networks"]["parameters"]["scan_to_style"] > shared
    assert f"{shared:,} of these, by both directions" in format_card(card)
    assert "by both directions" not in format_card(describe_model(make_bundle()))


@pytest.mark.parametrize("reach", [0, 2])
def test_slices_share_their_statistics_under_each_directions_codes(
    bundle: Bundle, reach: int
) -> None:
    """Equal slices have equal statistics, whichever of them are shared."""
    inference = bundle.config.inference.model_copy(update={"slice_statistics": reach})
    config = bundle.config.model_copy(update={"inference": inference})
    translator = Translator.from_generators(
        config, restore_generators(bundle), **facts(), precision="fp32"
    )
    stack = images(1).repeat(5, 1, 1, 1)
    for direction in DIRECTIONS:
        network = translator.network(direction)
        with torch.no_grad():
            expected = network.generator(stack).numpy()
        np.testing.assert_allclose(stream(network, stack.numpy(), None), expected, atol=2e-4)


def test_monai_bundle_builds_the_network_that_its_weights_are_of(
    bundle: Bundle, tmp_path: Path
) -> None:
    folder = save_monai_bundle(bundle, tmp_path / "monai")
    parser = ConfigParser(json.loads((folder / "configs" / "inference.json").read_text()))
    network = parser.get_parsed_content("network_def").eval()
    state = torch.load(folder / "models" / "model.pt", weights_only=True)
    network.load_state_dict(state)
    with torch.no_grad():
        expected = restore_generator(bundle, "scan_to_style")(images())
        torch.testing.assert_close(network(images()), expected, rtol=0, atol=0)


@pytest.mark.slow
def test_graphs_compute_what_each_direction_does(bundle: Bundle) -> None:
    pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    graphs = with_graphs(bundle)
    assert graphs.hash == bundle.hash
    for direction in DIRECTIONS:
        graph = OnnxGenerator(graphs.graphs[direction])
        assert graphs.parameters[direction] == bundle.parameters[direction]
        with torch.no_grad():
            expected = restore_generator(bundle, direction)(images(3))
            torch.testing.assert_close(graph(images(3)), expected, rtol=0, atol=1e-4)
