"""Sample panels: the same few samples, translated there and back, as training goes on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from medstyle_gan.data.slices import display_image
from medstyle_gan.inference.outputs.sidecar import NOTE, PNG_TEXT
from medstyle_gan.inference.synthetic_mark import mark_synthetic
from medstyle_gan.training.observed import Observed, observed
from medstyle_gan.training.throughput import Throughput
from medstyle_gan.volumes import write_picture

STAGES = ("translation", "reconstruction", "identity")
_WIDEST, _NARROWEST = 256, 112  # of a tile (pixels); the narrowest still takes its label
_GAP, _BLOCK_GAP, _LABEL, _FONT_SIZE = 2, 14, 22, 14
_BACKGROUND, _INK = 32, 235


def draw_panel(columns: Mapping[str, Sequence[Tensor]], mark: bool = True) -> np.ndarray:
    """Draw images side by side: a block of labelled columns a domain, a row a sample.

    Args:
        columns: domain → [image, translation, reconstruction, identity], or the first of them,
            each (B, 1|3, H, W) in [-1, 1], axes R→L/P→A as slices have them, or
            (B, 1|3, X, Y, Z), axes R, A, S; values beyond are clipped.
        mark: Write SYNTHETIC into all images but the domains' own.

    Returns:
        (rows, columns, 1) uint8 when all images are grey, else (rows, columns, 3); anatomy
        anterior or superior up. Tiles are enlarged or reduced to a readable size. Of a 3-D
        image its middle axial, coronal and sagittal slices stand one above the other.
    """
    blocks = {
        domain: [[_tile(image) for image in images] for images in stages]
        for domain, stages in columns.items()
    }
    if mark:
        blocks = {domain: _marked(block) for domain, block in blocks.items()}
    tiles = [tile for block in blocks.values() for column in block for tile in column]
    mode = "RGB" if any(tile.mode == "RGB" for tile in tiles) else "L"
    height = max(tile.height for tile in tiles)
    samples = max(len(column) for block in blocks.values() for column in block)
    widths = {domain: max(t.width for c in block for t in c) for domain, block in blocks.items()}
    width = sum(len(block) * (widths[domain] + _GAP) for domain, block in blocks.items())
    width += _BLOCK_GAP * (len(blocks) - 1) - _GAP
    panel = Image.new(mode, (width, _LABEL + samples * (height + _GAP) - _GAP), _paint(mode, 0))
    pen = ImageDraw.Draw(panel)
    font = ImageFont.load_default(_FONT_SIZE)
    left = 0
    for domain, block in blocks.items():
        for label, column in zip((domain, *STAGES), block, strict=False):
            middle = left + widths[domain] / 2
            pen.text((middle, _LABEL / 2), label, _paint(mode, 1), font, anchor="mm")
            for row, tile in enumerate(column):
                panel.paste(tile.convert(mode), (left, _LABEL + row * (height + _GAP)))
            left += widths[domain] + _GAP
        left += _BLOCK_GAP
    array = np.asarray(panel)
    return array[..., None] if mode == "L" else array


class SamplePanels(L.Callback):
    """Draws a panel each `every` steps and at the end: `step_000500.png`, and to the loggers.

    Args:
        folder: Where the panels go.
        every: Steps between panels.
        samples: `{"scan": (N, C, *spatial), "style": (M, C', *spatial)}` in [-1, 1], fixed for
            the run; the shorter one is begun again where it ends.
        throughput: What clocks the training, stopped meanwhile.
        mark: Write SYNTHETIC into what was made.
    """

    def __init__(
        self,
        folder: Path,
        every: int,
        samples: Mapping[str, Tensor],
        throughput: Throughput,
        mark: bool = True,
    ) -> None:
        self._folder = folder
        self._every = every
        self._samples = samples
        self._throughput = throughput
        self._mark = mark
        self._drawn_step: int | None = None

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Draw where a panel is due."""
        if observed(pl_module).step % self._every == 0:
            self._draw(trainer, pl_module)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Draw the end, unless that panel stands already."""
        if observed(pl_module).step != self._drawn_step:
            self._draw(trainer, pl_module)

    def _draw(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        method = observed(pl_module)
        self._drawn_step = method.step
        if not trainer.is_global_zero:
            return
        with self._throughput.paused():
            panel = draw_panel(self._translate(method, pl_module.device), self._mark)
            path = self._folder / f"step_{method.step:06d}.png"
            write_picture(path, panel, {PNG_TEXT: NOTE})
            for logger in trainer.loggers:
                if hasattr(logger, "log_image"):
                    picture = Image.fromarray(panel.squeeze(-1) if panel.shape[-1] == 1 else panel)
                    caption = [f"step {method.step}"]
                    logger.log_image("samples", [picture], method.step, caption=caption)

    def _translate(self, method: Observed, device: torch.device) -> dict[str, list[Tensor]]:
        # One sample at a time: the memory it takes doesn't grow with the panel.
        count = max(len(images) for images in self._samples.values())
        rows = []
        for i in range(count):
            one = {d: x[i % len(x)][None].to(device) for d, x in self._samples.items()}
            with torch.no_grad():
                rows.append(method.panel(one))
        return {
            domain: [torch.cat([row[domain][k].cpu() for row in rows]) for k in range(len(stages))]
            for domain, stages in rows[0].items()
        }


def _marked(block: Sequence[Sequence[Image.Image]]) -> list[list[Image.Image]]:
    """A domain's columns, the label at one place in all but the first of a row's images."""
    rows = []
    for own, *made in zip(*block, strict=True):
        anatomy = np.asarray(own.convert("L"))
        labelled = mark_synthetic([np.asarray(tile) for tile in made], anatomy)
        rows.append([own, *(Image.fromarray(picture) for picture in labelled)])
    return [list(column) for column in zip(*rows, strict=True)]


def _tile(image: Tensor) -> Image.Image:
    if image.ndim == 3:
        return _slice_tile(image)
    planes = [_slice_tile(middle) for middle in middle_slices(image)]
    mode = planes[0].mode
    size = max(p.width for p in planes), sum(p.height + _GAP for p in planes) - _GAP
    tile = Image.new(mode, size, _paint(mode, 0))
    top = 0
    for plane in planes:
        tile.paste(plane, ((tile.width - plane.width) // 2, top))
        top += plane.height + _GAP
    return tile


def middle_slices(image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The middle axial (C, X, Y), coronal (C, X, Z) and sagittal (C, Y, Z) slices of a volume.

    Args:
        image: (C, X, Y, Z), axes R, A, S.
    """
    x, y, z = (n // 2 for n in image.shape[1:])
    return image[..., z], image[:, :, y], image[:, x]


def _slice_tile(image: Tensor) -> Image.Image:
    values = np.nan_to_num(image.detach().float().cpu().numpy(), nan=-1.0)
    grey_levels = np.clip((values + 1) * 127.5, 0, 255).round().astype(np.uint8)
    tile = Image.fromarray(np.ascontiguousarray(display_image(grey_levels)))
    longest = max(tile.size)
    if longest > _WIDEST:
        smaller = [max(1, round(side * _WIDEST / longest)) for side in tile.size]
        return tile.resize((smaller[0], smaller[1]), Image.Resampling.LANCZOS)
    times = -(-_NARROWEST // tile.width)  # whole pixels, so that nothing is smoothed over
    return tile.resize((tile.width * times, tile.height * times), Image.Resampling.NEAREST)


def _paint(mode: str, ink: int) -> int | tuple[int, int, int]:
    value = _INK if ink else _BACKGROUND
    return value if mode == "L" else (value, value, value)
