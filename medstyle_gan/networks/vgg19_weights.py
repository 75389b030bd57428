"""Weights of the frozen VGG-19: torchvision's, a file's, or random ones from a seed."""

from __future__ import annotations

import math
import pickle
import zipfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn
from torchvision.models import VGG19_Weights, vgg19

from medstyle_gan.errors import UserError

_LISTED_DIFFERENCES = 6
_EXPECTED = (
    "torchvision's VGG-19 is needed (its full state dict or that of its .features, "
    "for RGB images normalised by ImageNet's mean and deviation)"
)


@cache
def convolution_shapes() -> dict[str, tuple[int, torch.Size]]:
    """Each convolution of torchvision's VGG-19, shallow to deep.

    Returns:
        conv1_1 … conv5_4 → (index in torchvision's `features`, shape of its weight).
    """
    with torch.device("meta"):  # shapes without the 143 million parameters
        features = vgg19(weights=None, init_weights=False).features
    shapes: dict[str, tuple[int, torch.Size]] = {}
    stage, number = 1, 0
    for index, layer in enumerate(features):
        if isinstance(layer, nn.Conv2d):
            number += 1
            shapes[f"conv{stage}_{number}"] = (index, layer.weight.shape)
        elif isinstance(layer, nn.MaxPool2d):
            stage, number = stage + 1, 0
    return shapes


def load_vgg19_weights(weights: str) -> dict[str, Tensor]:
    """Get the sixteen convolutions' weights in fp32.

    Args:
        weights: `imagenet`, `random:SEED` or the path of a `.pth` or `.safetensors` file.

    Returns:
        "convN_M.weight" and "convN_M.bias" for every convolution.

    Raises:
        UserError: if they cannot be fetched or read, or are not torchvision's VGG-19's.
    """
    if weights.startswith("random:"):
        seed = weights.removeprefix("random:")
        if not seed.isdecimal():
            raise UserError(
                f"vgg.weights={weights}: {seed!r} is not a seed; write random:0 "
                "or another whole number"
            )
        return random_weights(int(seed))
    if weights == "imagenet":
        return _named(_download(), "vgg.weights=imagenet")
    return _named(_read(Path(weights)), f"vgg.weights={weights}")


def random_weights(seed: int) -> dict[str, Tensor]:
    """Draw weights that keep the images' differences through all sixteen layers.

    He et al. (2015) alone keeps the size of the activations, but behind a ReLU all are
    positive: what they share grows with depth until every image gives nearly the same
    features. From the second layer on each filter's mean is therefore taken out (centred
    weights, Huang et al. 2017), which removes the share, and the gain makes up for it: half
    of a normal variable's square survives a ReLU, of which 1/π was its mean. The first
    layer keeps its mean, being the one that sees how bright the image is.

    Args:
        seed: any whole number ≥ 0; the global random state is left as it is.

    Returns:
        As `load_vgg19_weights`; the biases are 0.
    """
    generator = torch.Generator().manual_seed(seed)
    state: dict[str, Tensor] = {}
    for name, (_, shape) in convolution_shapes().items():
        gain = 2.0
        weight = torch.randn(shape, generator=generator)
        if name != "conv1_1":
            weight -= weight.mean(dim=(1, 2, 3), keepdim=True)
            gain = 2.0 / (1 - 1 / math.pi)
        state[f"{name}.weight"] = weight * math.sqrt(gain / shape[1:].numel())
        state[f"{name}.bias"] = torch.zeros(shape[0])
    return state


def _download() -> Mapping[str, Any]:
    try:
        return VGG19_Weights.IMAGENET1K_V1.get_state_dict(progress=True, check_hash=True)
    except (OSError, RuntimeError) as error:  # no network; a download that is not whole
        raise UserError(
            "vgg.weights=imagenet: torchvision could not download its VGG-19 weights "
            f"({error}). On a computer with a network and torchvision run:  "
            'python -c "from torchvision.models import VGG19_Weights as W; '
            'W.IMAGENET1K_V1.get_state_dict()"  then copy the vgg19-*.pth that it leaves in '
            "~/.cache/torch/hub/checkpoints here and give vgg.weights=PATH; or train "
            "without pretrained weights by vgg.weights=random:0"
        ) from error


def _read(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        raise UserError(
            f"vgg.weights={path}: there is no such file; give imagenet, random:SEED or the "
            "path of a .pth or .safetensors file"
        )
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        # Mapped, so that the classifier's half gigabyte is never read; files written
        # before PyTorch 1.6 are no archives and cannot be.
        mapped = zipfile.is_zipfile(path)
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as error:  # what bytes that are no state dict raise is anybody's guess
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if isinstance(error, pickle.UnpicklingError):
            # Torch's own message advises to run whatever code the file holds.
            reason = "damaged, or with other objects than tensors"
        raise UserError(
            f"vgg.weights={path}: cannot be read as a state dict ({reason}); {_EXPECTED}"
        ) from error
    if not isinstance(state, Mapping):
        raise UserError(
            f"vgg.weights={path}: holds a {type(state).__name__}, not a state dict; {_EXPECTED}"
        )
    return state


def _named(state: Mapping[str, Any], source: str) -> dict[str, Tensor]:
    """Check a state dict against torchvision's and give its convolutions their names."""
    _refuse_caffe(state, source)
    prefix = "features." if any(str(key).startswith("features.") for key in state) else ""
    expected: dict[str, tuple[str, torch.Size]] = {}
    for name, (index, shape) in convolution_shapes().items():
        expected[f"{prefix}{index}.weight"] = (f"{name}.weight", shape)
        expected[f"{prefix}{index}.bias"] = (f"{name}.bias", shape[:1])
    differences = _differences(state, {key: shape for key, (_, shape) in expected.items()})
    if differences:
        more = len(differences) - _LISTED_DIFFERENCES
        listed = "; ".join(differences[:_LISTED_DIFFERENCES])
        raise UserError(
            f"{source}: not a VGG-19: {listed}{f'; and {more} more' if more > 0 else ''}. "
            f"{_EXPECTED}"
        )
    # Copied, so that nothing hangs on a mapped file that may change or go.
    named = {name: state[key].to(torch.float32, copy=True) for key, (name, _) in expected.items()}
    broken = [name for name, tensor in named.items() if not tensor.isfinite().all()]
    if broken:
        raise UserError(f"{source}: NaN or infinite values in {', '.join(broken)}")
    return named


def _differences(state: Mapping[str, Any], expected: dict[str, torch.Size]) -> list[str]:
    differences = []
    for key, shape in expected.items():
        tensor = state.get(key)
        if not isinstance(tensor, Tensor):
            differences.append(f"{key} is missing")
        elif tensor.shape != shape:
            differences.append(f"{key} is {list(tensor.shape)}, not {list(shape)}")
        elif not tensor.is_floating_point():
            differences.append(f"{key} is {tensor.dtype}, not floating point")
    extra = [key for key in state if key not in expected and not key.startswith("classifier.")]
    return differences + [f"{key} is unexpected" for key in extra]


def _refuse_caffe(state: Mapping[str, Any], source: str) -> None:
    """Refuse conversions of the original Caffe VGG, whose input is another one.

    Their tensors have torchvision's shapes, and values cannot tell them apart: both first
    layers' weights are of the order of 0.1, although one was trained on pixels of 0 to 255
    (Caffe's grew activations of the order of 100 instead). What gives them away is the
    naming: Johnson's conversion numbers the classifier's layers 1, 4, 6 (torchvision: 0,
    3, 6), Gatys' names layers conv1_1, ….
    """
    keys = set(state)
    named_in_caffe_style = "conv1_1.weight" in keys
    numbered_as_johnsons = "classifier.1.weight" in keys and "classifier.0.weight" not in keys
    if named_in_caffe_style or numbered_as_johnsons or "caffe" in Path(source).name.lower():
        raise UserError(
            f"{source}: looks like a conversion of the original Caffe VGG, which expects "
            f"BGR images of 0 to 255; {_EXPECTED}"
        )
