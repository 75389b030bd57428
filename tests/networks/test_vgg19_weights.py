from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn
from torchvision.models import VGG19_Weights, vgg16, vgg19_bn

from medstyle_gan.errors import UserError
from medstyle_gan.networks.vgg19_weights import load_vgg19_weights, random_weights

State = dict[str, Tensor]


def _features_only(state: State, prefix: str) -> State:
    return {
        prefix + key.removeprefix("features."): tensor
        for key, tensor in state.items()
        if key.startswith("features.")
    }


def _assert_is(loaded: State, state: State) -> None:
    convolutions = [key for key in state if key.startswith("features.")]
    assert len(loaded) == len(convolutions) == 32
    for (name, tensor), key in zip(loaded.items(), convolutions, strict=True):
        assert name.rpartition(".")[2] == key.rpartition(".")[2]
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, state[key])


@pytest.mark.parametrize(
    ("layout", "format_"),
    [
        *(
            (layout, format_)
            for layout in ("whole", "features.", "")
            for format_ in ("archive", "before PyTorch 1.6")
        ),
        # Not whole: safetensors would write the classifier's half gigabyte of zeros.
        ("features.", "safetensors"),
        ("", "safetensors"),
    ],
)
def test_every_layout_and_format_of_torchvisions_weights_is_read(
    torchvision_state: State, tmp_path: Path, layout: str, format_: str
) -> None:
    state = torchvision_state if layout == "whole" else _features_only(torchvision_state, layout)
    path = tmp_path / ("vgg.safetensors" if format_ == "safetensors" else "vgg19-dcbb9e9d.pth")
    if format_ == "safetensors":
        safetensors.torch.save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=format_ == "archive")
    _assert_is(load_vgg19_weights(str(path)), torchvision_state)


def test_half_precision_weights_become_single(torchvision_state: State, tmp_path: Path) -> None:
    half = {k: t.half() for k, t in _features_only(torchvision_state, "").items()}
    torch.save(half, tmp_path / "half.pth")
    loaded = load_vgg19_weights(str(tmp_path / "half.pth"))
    torch.testing.assert_close(loaded["conv3_4.weight"], half["16.weight"].float())


def _hollow(state: State) -> State:
    """The same keys and shapes, every tensor one zero expanded."""
    return {key: torch.zeros(()).expand(tensor.shape) for key, tensor in state.items()}


@pytest.mark.parametrize(
    ("builder", "difference"),
    [
        (vgg16, r"features\.16\.weight is missing"),
        (vgg19_bn, r"features\.2\.weight is missing"),
    ],
)
def test_another_network_is_refused_with_the_differences(
    builder: Any, difference: str, tmp_path: Path
) -> None:
    with torch.device("meta"):
        state = builder(weights=None, init_weights=False).state_dict()
    torch.save(_hollow(state), tmp_path / "other.pth")
    with pytest.raises(UserError, match=rf"other\.pth: not a VGG-19: .*{difference}.* more"):
        load_vgg19_weights(str(tmp_path / "other.pth"))


@pytest.mark.parametrize(
    ("key", "value", "difference"),
    [
        ("features.34.bias", None, r"features\.34\.bias is missing"),
        ("features.0.weight", torch.zeros(64, 1, 3, 3), r"is \[64, 1, 3, 3\], not \[64, 3, 3, 3\]"),
        ("features.2.bias", torch.zeros(64, dtype=torch.int64), r"is torch\.int64, not floating"),
        ("features.3.weight", torch.zeros(64), r"features\.3\.weight is unexpected"),
        ("features.5.bias", torch.full((128,), torch.nan), r"NaN or infinite.*conv2_1\.bias"),
    ],
    ids=["missing", "shape", "type", "unexpected", "nan"],
)
def test_a_damaged_state_is_refused_naming_the_tensor(
    torchvision_state: State, tmp_path: Path, key: str, value: Tensor | None, difference: str
) -> None:
    state = _hollow(torchvision_state)
    state.pop(key, None)
    if value is not None:
        state[key] = value
    torch.save(state, tmp_path / "damaged.pth")
    with pytest.raises(UserError, match=difference):
        load_vgg19_weights(str(tmp_path / "damaged.pth"))


def test_conversions_of_the_caffe_network_are_refused(
    torchvision_state: State, tmp_path: Path
) -> None:
    state = _hollow(torchvision_state)
    moved = {"classifier.0": "classifier.1", "classifier.3": "classifier.4"}
    johnsons = {moved.get(k[:12], k[:12]) + k[12:]: tensor for k, tensor in state.items()}
    gatys = {"conv1_1.weight": state["features.0.weight"]}
    for name, content in {"a.pth": johnsons, "b.pth": gatys, "vgg19_caffe.pth": state}.items():
        torch.save(content, tmp_path / name)
        with pytest.raises(UserError, match=rf"{name}: looks like .*Caffe.*BGR images of 0 to 255"):
            load_vgg19_weights(str(tmp_path / name))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("truncated.pth", b"PK\x03\x04nothing"),
        ("text.pth", b"hello"),
        ("empty.pth", b""),
        ("bad.safetensors", b"\x00\x01"),
    ],
)
def test_a_file_that_is_no_state_dict_is_refused(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=rf"{name}: cannot be read as a state dict"):
        load_vgg19_weights(str(tmp_path / name))


def test_a_pickled_module_is_not_executed(tmp_path: Path) -> None:
    torch.save(nn.Conv2d(1, 1, 1), tmp_path / "module.pth")
    with pytest.raises(UserError, match="cannot be read as a state dict"):
        load_vgg19_weights(str(tmp_path / "module.pth"))


def test_a_list_is_refused(tmp_path: Path) -> None:
    torch.save([torch.zeros(1)], tmp_path / "list.pth")
    with pytest.raises(UserError, match="holds a list, not a state dict"):
        load_vgg19_weights(str(tmp_path / "list.pth"))


def test_a_failed_download_says_how_to_bring_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: Any, **__: Any) -> None:
        raise URLError("Name or service not known")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", offline)
    with pytest.raises(UserError) as refusal:
        load_vgg19_weights("imagenet")
    message = str(refusal.value)
    for hint in ("get_state_dict()", "vgg.weights=PATH", "vgg.weights=random:0", "not known"):
        assert hint in message
    assert "http" not in message


def test_imagenet_is_torchvisions_checked_download(
    torchvision_state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}

    def download(url: str, **options: Any) -> State:
        asked.update(options, url=url)
        return torchvision_state

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", download)
    _assert_is(load_vgg19_weights("imagenet"), torchvision_state)
    assert asked["url"] == VGG19_Weights.IMAGENET1K_V1.url
    assert asked["check_hash"]


@pytest.mark.parametrize("spec", ["random:", "random:-1", "random:seven", "random:1.5"])
def test_a_seed_that_is_none_is_refused(spec: str) -> None:
    with pytest.raises(UserError, match=r"not a seed; write random:0"):
        load_vgg19_weights(spec)


def test_random_weights_follow_their_seed_and_leave_the_global_state_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = load_vgg19_weights("random:7")
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    again, other = random_weights(7), random_weights(8)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["conv1_1.weight"], other["conv1_1.weight"])


def test_no_advice_to_run_code_that_a_file_holds(tmp_path: Path) -> None:
    path = tmp_path / "vgg19.pth"
    torch.save({"features.0.weight": Path("an object")}, path)
    with pytest.raises(UserError, match="other objects than tensors") as error:
        load_vgg19_weights(str(path))
    assert "weights_only" not in str(error.value)
