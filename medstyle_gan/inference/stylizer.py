"""One image through a style transfer: sizes, channels, structure, and what is kept of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from medstyle_gan.config import Config
from medstyle_gan.errors import UserError
from medstyle_gan.inference.bundles.bundle import Bundle
from medstyle_gan.inference.structure import with_structure_of
from medstyle_gan.inference.stylize_inputs import LoadedStyle
from medstyle_gan.methods import (
    STYLE_TRANSFERS,
    Guidance,
    Iteration,
    StyleReference,
    StyleTransfer,
)
from medstyle_gan.networks import adapt_channels
from medstyle_gan.networks.sizes import resized


def build_style_transfer(
    config: Config, device: torch.device, model: Bundle | None = None
) -> StyleTransfer[Any, Any, Any]:
    """The style transfer that `method.name` names.

    Args:
        config: all settings.
        device: where its networks go.
        model: as `find_model` gives it.

    Raises:
        UserError: the settings or the model cannot be used.
    """
    transfer: StyleTransfer[Any, Any, Any] = STYLE_TRANSFERS[config.method.name].build(
        config, device, model
    )
    return transfer


class Stylizer:
    """Gives images of one size the same styles.

    Args:
        transfer: the method.
        config: its `stylize` section is used.
        styles: what the images are to look like, encoded once.
        size: (H, W) of the images.
        channels: of the result, 1 or 3.
        device: where the transfer computes.

    Raises:
        UserError: the weights do not fit the styles, or an image is too small.
    """

    def __init__(
        self,
        transfer: StyleTransfer[Any, Any, Any],
        config: Config,
        styles: Sequence[LoadedStyle],
        size: tuple[int, int],
        channels: int,
        device: torch.device,
    ) -> None:
        self.settings = config.stylize
        self.transfer = transfer
        self.size, self.channels, self.device = size, channels, device
        self.work_size = _longest(size, self.settings.size or max(size))
        # Kept colour comes from the content; only luminances meet the style (Gatys et al. 2016,
        # "Preserving color in neural artistic style transfer").
        self.work_channels = 1 if self.settings.keep == "colour" else channels
        weights = self.settings.style_weights or (1.0,) * len(styles)
        if len(weights) != len(styles):
            raise UserError(
                f"stylize.style_weights has {len(weights)} weights for {len(styles)} style(s); "
                "give one for each --style"
            )
        references = [self._reference(s, w) for s, w in zip(styles, weights, strict=True)]
        self.style = transfer.encode_style(references)

    @torch.no_grad()
    def working(self, content: Tensor) -> Tensor:
        """The content as the transfer sees it."""
        content = adapt_channels(content.to(self.device), self.work_channels)
        return resized(content, self.work_size).contiguous()

    def __call__(
        self,
        content: Tensor,
        regions: Sequence[Tensor] | None = None,
        added: Tensor | None = None,
        on_iteration: Callable[[Iteration], None] = lambda iteration: None,
        on_message: Callable[[str], None] = lambda message: None,
    ) -> tuple[Tensor, Tensor]:
        """Stylise an image.

        Args:
            content: `(1, C, H, W)` in [-1, 1].
            regions: see `Guidance.regions`.
            added: what the neighbouring slice's style added to it; this one begins with the
                same, and is held to it where the method is set to.
            on_iteration: takes the progress.
            on_message: takes what the user should know.

        Returns:
            The result `(1, channels, H, W)` in [-1, 1] on the CPU, and what the style added at
            the working size.
        """
        working = self.working(content)
        guidance = Guidance(
            regions=None if regions is None else [r.to(self.device) for r in regions],
            start=None if added is None else (working + added).clamp(-1, 1),
            continued=added,
            on_iteration=on_iteration,
            on_message=on_message,
        )
        code = self.transfer.transfer(self.transfer.encode_content(working), self.style, guidance)
        with torch.no_grad():
            stylised = adapt_channels(self.transfer.decode(code), self.work_channels)
            inside = (
                None if regions is None else torch.stack(list(regions)).amax(0)[0, 0].cpu() > 0.5
            )
            result = self._finished(content, resized(stylised, self.size).cpu(), inside)
            return result, stylised - working

    def _finished(self, content: Tensor, stylised: Tensor, inside: Tensor | None) -> Tensor:
        settings = self.settings
        own = adapt_channels(content, self.channels)
        luminance = adapt_channels(content, 1)
        if settings.structure == "preserved":
            stylised = with_structure_of(content, stylised, settings, inside)
        # The same amount on all channels changes luminance alone, not the colour differences.
        if settings.keep == "colour":
            stylised = own + (stylised - luminance)
        elif settings.keep == "luminance":
            stylised = stylised + (luminance - adapt_channels(stylised, 1))
        return adapt_channels(stylised, self.channels).clamp(-1, 1)

    @torch.no_grad()
    def _reference(self, style: LoadedStyle, weight: float) -> StyleReference:
        longest = round(max(self.work_size) * self.settings.style_size)
        images, masks = [], []
        for number, image in enumerate(style.images):
            height, width = image.shape[-2:]
            size = _longest((height, width), longest)
            image = adapt_channels(image.to(self.device), self.work_channels)
            images.append(resized(image, size).contiguous())
            if style.masks is not None:
                masks.append(resized(style.masks[number].to(self.device), size).clamp(0, 1))
        return StyleReference(images, weight, masks or None)


def _longest(size: tuple[int, int], longest: int) -> tuple[int, int]:
    """The size with another longest side and the same proportions."""
    factor = longest / max(size)
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))
