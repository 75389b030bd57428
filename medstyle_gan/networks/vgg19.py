"""Features of a frozen VGG-19 (Simonyan & Zisserman 2015) for perceptual and style losses."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medstyle_gan.errors import UserError
from medstyle_gan.networks.channels import adapt_channels
from medstyle_gan.networks.vgg19_weights import convolution_shapes, load_vgg19_weights
from medstyle_gan.networks.winograd import WINOGRAD_CHANNELS, WinogradConv

# Of the RGB values in [0, 1] that torchvision's classification networks were trained on.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def _layer_names() -> list[str]:
    """conv1_1, relu1_1, conv1_2, … pool5, in the order in which data passes them."""
    names: list[str] = []
    stage = "1"
    for conv in convolution_shapes():
        if conv[4] != stage:
            names.append(f"pool{stage}")
            stage = conv[4]
        names += [conv, conv.replace("conv", "relu")]
    return [*names, f"pool{stage}"]


LAYERS: tuple[str, ...] = tuple(_layer_names())


class VGG19Features(nn.Module):
    """Named activations of a frozen VGG-19; never trains, always in evaluation mode.

    The input in [-1, 1] is mapped exactly to what the network was trained on: grey is
    repeated to RGB, then (x/2 + 1/2 − mean) / std with ImageNet's mean and std. (Folded into
    the first convolution, with a channel of ones beside the grey one, a pass and its backward
    took 1.01 and 1.02 times as long in bf16 and 0.99 and 0.97 times in fp32, at 128² and 256²
    on an EPYC core: not worth another path.) Under
    autocast the convolutions run in its dtype with weights that are cast once, not at
    every pass. Gradients flow to the input, never to the weights.

    Args:
        weights: `imagenet` (torchvision's, downloaded once), the path of such a file
            (`.pth` or `.safetensors`), or `random:SEED`.
        layers: names of the wanted layers: convN_M, reluN_M or poolN.
        pooling: `max`, which the weights were trained with, or `average`, which Gatys et al.
            (2016) found to give smoother pictures.
        winograd: convolutions of many channels as `WinogradConv`, which keep no other weights;
            for fp32 or more where `winograd_pays`.

    Raises:
        UserError: for an unknown layer, or weights that are missing or not a VGG-19's.

    Example:
        >>> vgg = VGG19Features("random:0", ["relu1_1", "relu4_2"])
        >>> {name: tuple(f.shape) for name, f in vgg(torch.zeros(1, 1, 64, 64)).items()}
        {'relu1_1': (1, 64, 64, 64), 'relu4_2': (1, 512, 8, 8)}
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        weights: str,
        layers: Sequence[str],
        pooling: Literal["max", "average"] = "max",
        winograd: bool = False,
    ) -> None:
        super().__init__()
        self._pool = F.max_pool2d if pooling == "max" else F.avg_pool2d
        self.layers = tuple(dict.fromkeys(layers))
        unknown = [name for name in self.layers if name not in LAYERS]
        if unknown or not self.layers:
            raise UserError(
                f"VGG-19 layers: {'no ' + ', '.join(unknown) if unknown else 'none given'}; "
                f"there are {', '.join(LAYERS)}"
            )
        deepest = max(LAYERS.index(name) for name in self.layers)
        self._plan = LAYERS[: deepest + 1]
        self.minimum_size = 2 ** sum(name.startswith("pool") for name in self._plan)
        state = dict(load_vgg19_weights(weights))  # some are taken out below
        self._winograd = nn.ModuleDict()
        convolutions = [name for name in self._plan if name.startswith("conv")]
        # Of the weights as they came, which are not all kept.
        kinds = [f"{name}.{kind}" for name in convolutions for kind in ("weight", "bias")]
        self._identity = _sha256(state[kind] for kind in kinds) if winograd else None
        for name in convolutions:
            weight, bias = state.pop(f"{name}.weight"), state.pop(f"{name}.bias")
            if winograd and min(weight.shape[:2]) >= WINOGRAD_CHANNELS:
                self._winograd[name] = WinogradConv(weight, bias, padding=1)
                continue
            # Buffers that are not persistent: in no state dict, and nothing to an optimiser.
            self.register_buffer(f"{name}_weight", weight, persistent=False)
            self.register_buffer(f"{name}_bias", bias, persistent=False)
        for name, values in (("mean", IMAGENET_MEAN), ("std", IMAGENET_STD)):
            statistic = torch.tensor(values).view(1, 3, 1, 1)
            self.register_buffer(name, statistic, persistent=False)
        self._cast: dict[torch.dtype, dict[str, Tensor]] = {}
        self.eval()

    def train(self, mode: bool = True) -> VGG19Features:
        """Stay in evaluation mode whatever is asked, as a frozen network."""
        return super().train(False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        self._cast.clear()
        return super()._apply(fn, recurse)

    def forward(self, x: Tensor, layers: Sequence[str] | None = None) -> dict[str, Tensor]:
        """Compute the layers' activations of `(B, 1|3, H, W)` in [-1, 1].

        Args:
            x: the images.
            layers: of the wanted layers those that this pass needs (None: all); nothing
                deeper is computed.

        Returns:
            The wanted layers, shallow to deep: name → `(B, channels, h, w)`.

        Raises:
            UserError: for images too small to reach the deepest layer.
            ValueError: `winograd` in less than fp32.
        """
        self.refuse_small(x.shape[-2:])
        device = x.device.type
        autocast = torch.is_autocast_enabled(device)
        dtype = torch.get_autocast_dtype(device) if autocast else self.mean.dtype
        if self._winograd and dtype.itemsize < 4:
            raise ValueError(f"winograd=True is for fp32 or more, not {dtype}")
        with torch.autocast(device, enabled=False):
            rgb = adapt_channels(x.to(self.mean.dtype), 3)
            normalized = ((rgb / 2 + 0.5 - self.mean) / self.std).to(dtype)
            wanted = self.layers if layers is None else tuple(layers)
            return dict(self._activations(normalized, self._parameters_in(dtype), wanted))

    def identity(self) -> str:
        """SHA-256 of the weights, wherever they came from, down to the deepest wanted layer."""
        if self._identity is not None:
            return self._identity
        return _sha256(b for name, b in self.named_buffers() if name.startswith("conv"))

    def refuse_small(self, size: Sequence[int], larger: str = "data.sample_size") -> None:
        """Refuse images `(height, width)` that do not reach the deepest layer.

        Args:
            size: of the images that the network sees.
            larger: the settings that make them larger.

        Raises:
            UserError: naming the size that is needed.
        """
        if min(size) < self.minimum_size:
            raise UserError(
                f"images of {size[0]}x{size[1]} are too small for VGG-19's {self._plan[-1]}: it "
                f"needs {self.minimum_size}x{self.minimum_size}; take a larger {larger}, "
                "or shallower loss.perceptual.layers and loss.style.layers"
            )

    def _activations(
        self, x: Tensor, weights: dict[str, Tensor], wanted: tuple[str, ...]
    ) -> Iterator[tuple[str, Tensor]]:
        deepest = max(self._plan.index(name) for name in wanted)
        for name in self._plan[: deepest + 1]:
            if name.startswith("conv"):
                if name in self._winograd:
                    x = self._winograd[name](x)
                else:
                    x = F.conv2d(x, weights[f"{name}_weight"], weights[f"{name}_bias"], padding=1)
            elif name.startswith("relu"):
                # A captured convolution must stay what it was.
                x = F.relu(x) if name.replace("relu", "conv") in wanted else F.relu_(x)
            else:
                x = self._pool(x, kernel_size=2, stride=2)
            if name in wanted:
                yield name, x

    def _parameters_in(self, dtype: torch.dtype) -> dict[str, Tensor]:
        # Autocast caches casts of trained weights only; frozen ones it would cast each time.
        if dtype not in self._cast:
            self._cast[dtype] = {
                name: buffer.to(dtype)
                for name, buffer in self.named_buffers()
                if name.startswith("conv")
            }
        return self._cast[dtype]


def _sha256(tensors: Iterable[Tensor]) -> str:
    total = hashlib.sha256()
    for tensor in tensors:
        total.update(tensor.cpu().float().numpy().tobytes())
    return total.hexdigest()
