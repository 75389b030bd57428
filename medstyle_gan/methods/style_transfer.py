"""The four steps of every style transfer: encode content, encode style, transfer, decode.

What they are tells the methods apart:

| | encode content | encode style | transfer | decode |
|---|---|---|---|---|
| `gatys` | VGG-19 features | Gram matrices | optimise a picture towards both | clip |
| `feedforward` | the image itself | nothing: it is in the weights | one pass of a network | clip |
| `adain` | VGG-19 features | mean and deviation | give the content's features those | a decoder |
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Generic, NamedTuple, Protocol, Self, TypeVar

import torch
from torch import Tensor

from medstyle_gan.config import Config
from medstyle_gan.errors import UserError

Content = TypeVar("Content")
Style = TypeVar("Style")
Code = TypeVar("Code")


class Iteration(NamedTuple):
    """What an iterative transfer tells of its progress.

    Attributes:
        scale: which of `scales`, 0 being the coarsest.
        number: iterations done at this scale.
        loss: the weighted sum of the parts.
        parts: name → unweighted loss.
    """

    scale: int
    number: int
    loss: float
    parts: dict[str, float]


@dataclass(frozen=True)
class StyleReference:
    """What one style looks like.

    Attributes:
        images: `(1, C, h, w)` in [-1, 1], C being 1 or 3, of any sizes: one picture, or slices
            that are this style together.
        weight: its share beside other styles.
        masks: for each image where it counts, `(1, 1, h, w)` in [0, 1]; None is everywhere.
    """

    images: Sequence[Tensor]
    weight: float = 1.0
    masks: Sequence[Tensor] | None = None


@dataclass(frozen=True)
class Guidance:
    """What a transfer may be told besides content and style.

    Attributes:
        regions: where the styles go, `(1, 1, H, W)` in [0, 1]: one region for all of them or
            one a style. None is everywhere.
        start: `(1, C, H, W)` in [-1, 1] to begin from, in place of the method's own choice.
        continued: `(1, C, H, W)`, what the neighbouring slice's style added to it, which this
            one's is held to where the method is set to.
        on_iteration: takes the progress of a method that iterates.
        on_message: takes a line about something that the user should know.
    """

    regions: Sequence[Tensor] | None = None
    start: Tensor | None = None
    continued: Tensor | None = None
    on_iteration: Callable[[Iteration], None] = field(default=lambda iteration: None)
    on_message: Callable[[str], None] = field(default=lambda message: None)


class TrainedModel(Protocol):
    """What a training left, as a transfer that was learned needs it; a `Bundle` is one."""

    @property
    def config(self) -> Config:
        """Settings of the training."""
        ...

    @property
    def channels(self) -> dict[str, int]:
        """Domain → channels of its samples."""
        ...

    @property
    def vgg(self) -> str | None:
        """What the weights of its VGG-19 are known by."""
        ...

    def generator_state(self, direction: str) -> dict[str, Tensor]:
        """The weights of one of its networks."""
        ...


class StyleTransfer(ABC, Generic[Content, Style, Code]):
    """A way to give one image the style of others, in four steps that can be called alone.

    Attributes:
        learned: whether it needs a model that a training left.
        takes_style: whether the style is shown to it; else its model has one.
        channels: of what it gives; None gives those of the content.

    Example:
        >>> import torch
        >>> from medstyle_gan.config import load_config
        >>> from medstyle_gan.methods import STYLE_TRANSFERS
        >>> from medstyle_gan.methods.style_transfer import StyleReference
        >>> from medstyle_gan.networks import VGG19Features
        >>> config = load_config(None, ["method.name=gatys", "method.steps=2"])
        >>> gatys = STYLE_TRANSFERS[config.method.name]
        >>> vgg = VGG19Features("random:0", gatys.layers(config.loss))
        >>> method = gatys(vgg, config.method, config.loss)
        >>> image, style = torch.rand(2, 1, 1, 64, 64) * 2 - 1
        >>> look = method.encode_style([StyleReference([style])])
        >>> code = method.transfer(method.encode_content(image), look)
        >>> method.decode(code).shape
        torch.Size([1, 1, 64, 64])
    """

    learned: ClassVar[bool] = False
    takes_style: ClassVar[bool] = True
    channels: int | None = None

    @classmethod
    @abstractmethod
    def build(cls, config: Config, device: torch.device, model: TrainedModel | None) -> Self:
        """Make the transfer that settings ask for.

        Args:
            config: all settings; of a learned one only `method` and `vgg.weights` are used.
            device: where its networks go.
            model: what a training of this method left; None for one that is not `learned`.

        Raises:
            UserError: the settings or the model cannot be used.
        """

    @property
    @abstractmethod
    def minimum_size(self) -> int:
        """Shortest side of an image that the method can see (pixels)."""

    @abstractmethod
    def encode_content(self, image: Tensor) -> Content:
        """What is to be seen, from `(1, C, H, W)` in [-1, 1]."""

    @abstractmethod
    def encode_style(self, styles: Sequence[StyleReference]) -> Style:
        """How it is to look; it can be used for any number of images."""

    @abstractmethod
    def transfer(self, content: Content, style: Style, guidance: Guidance | None = None) -> Code:
        """Bring both together."""

    @abstractmethod
    def decode(self, code: Code) -> Tensor:
        """The image, `(1, C', H, W)` in [-1, 1]."""

    def __call__(
        self, image: Tensor, styles: Sequence[StyleReference], guidance: Guidance | None = None
    ) -> Tensor:
        """All four steps."""
        content, style = self.encode_content(image), self.encode_style(styles)
        return self.decode(self.transfer(content, style, guidance))


def shares_of(styles: Sequence[StyleReference]) -> list[float]:
    """The styles' weights as shares that sum to 1.

    Raises:
        UserError: the weights sum to 0.
    """
    total = sum(style.weight for style in styles)
    if not total:
        raise UserError(
            "the styles' weights sum to 0, so there is nothing to transfer; set one of "
            "stylize.style_weights above 0"
        )
    return [style.weight / total for style in styles]
