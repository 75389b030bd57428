"""Gatys et al. as tutorials have it: loss modules between the VGG-19's layers, all of them run.

The weights are frozen and every target is made before, as in a good tutorial; the network is not
cut behind the deepest loss, nothing is folded or reordered, everything is fp32.
"""

from __future__ import annotations

import time

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medstyle_gan.config.loss_section import LossConfig
from medstyle_gan.networks.vgg19 import IMAGENET_MEAN, IMAGENET_STD, LAYERS
from medstyle_gan.networks.vgg19_weights import load_vgg19_weights


def gram(features: Tensor) -> Tensor:
    """F Fᵀ / (C·H·W) of one image."""
    rows = features.view(features.shape[1], -1)
    return rows @ rows.t() / features.numel()


class ContentLoss(nn.Module):
    """Lets features through and keeps their mean squared distance to the content's."""

    def __init__(self, target: Tensor) -> None:
        super().__init__()
        self.target = target.detach()
        self.loss = torch.zeros(())

    def forward(self, x: Tensor) -> Tensor:
        """`x` itself."""
        self.loss = F.mse_loss(x, self.target)
        return x


class StyleLoss(nn.Module):
    """Lets features through and keeps the distance of their Gram matrix to the style's."""

    def __init__(self, target: Tensor) -> None:
        super().__init__()
        self.target = gram(target).detach()
        self.loss = torch.zeros(())

    def forward(self, x: Tensor) -> Tensor:
        """`x` itself."""
        self.loss = F.mse_loss(gram(x), self.target)
        return x


class Normalization(nn.Module):
    """From [-1, 1] to what torchvision's VGG-19 was trained on."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """`(B, 3, H, W)`."""
        return (x / 2 + 0.5 - self.mean) / self.std


class TextbookGatys:
    """Optimises a picture as the tutorials do.

    Args:
        weights: as `vgg.weights`.
        loss: layers and weights.
        content: `(1, 3, H, W)` in [-1, 1]; also the picture that it begins from.
        style: likewise.
    """

    name = "textbook"

    def __init__(self, weights: str, loss: LossConfig, content: Tensor, style: Tensor) -> None:
        self._loss = loss
        self._contents: list[ContentLoss] = []
        self._styles: list[StyleLoss] = []
        self.network = nn.Sequential(Normalization())
        state = load_vgg19_weights(weights)
        with torch.no_grad():
            for name in LAYERS:
                self.network.append(_layer(name, state))
                if name in loss.perceptual.layers:
                    self._contents.append(ContentLoss(self.network(content)))
                    self.network.append(self._contents[-1])
                if name in loss.style.layers:
                    self._styles.append(StyleLoss(self.network(style)))
                    self.network.append(self._styles[-1])
        self.network.eval().requires_grad_(False)
        self.start = content
        self.seconds: list[float] = []

    def evaluate(self, picture: Tensor) -> Tensor:
        """The loss at a picture, whose `grad` it fills."""
        picture.grad = None
        self.network(picture)
        content = torch.stack([module.loss for module in self._contents]).mean()
        style = torch.stack([module.loss for module in self._styles]).mean()
        loss = self._loss.perceptual.weight * content + self._loss.style.weight * style
        loss.backward()
        return loss

    def run(self, iterations: int) -> float:
        """Iterate, noting the seconds of each evaluation; the last loss."""
        picture = self.start.clone().requires_grad_()
        optimizer = torch.optim.LBFGS(
            [picture],
            max_iter=iterations,
            max_eval=25 * iterations,
            tolerance_grad=0,
            tolerance_change=0,
            line_search_fn="strong_wolfe",
        )

        def closure() -> float:
            began = time.perf_counter()
            loss = float(self.evaluate(picture).detach())
            self.seconds.append(time.perf_counter() - began)
            return loss

        optimizer.step(closure)
        return float(self.evaluate(picture).detach())


def _layer(name: str, state: dict[str, Tensor]) -> nn.Module:
    if name.startswith("relu"):
        return nn.ReLU(inplace=False)
    if name.startswith("pool"):
        return nn.MaxPool2d(kernel_size=2, stride=2)
    weight = state[f"{name}.weight"]
    layer = nn.Conv2d(weight.shape[1], weight.shape[0], kernel_size=3, padding=1)
    layer.weight, layer.bias = nn.Parameter(weight), nn.Parameter(state[f"{name}.bias"])
    return layer
