"""`stylize`: the look of pictures or volumes on a picture or on each slice of a volume.

Example:
    config = load_config(overrides=["method.steps=100"], method="gatys")
    result = stylize("brain.nii.gz", "drawing.png", config)
    save_stylized(result, plan_outputs("brain.nii.gz", "stylised.nii.gz"))
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from medstyle_gan.config import Config
from medstyle_gan.config.schema import default_config
from medstyle_gan.data.intensity import FittedScale
from medstyle_gan.data.preprocessing import from_slices, restore_array, to_slices
from medstyle_gan.errors import UserError
from medstyle_gan.inference.bundles.bundle import Bundle, package_versions
from medstyle_gan.inference.bundles.bundle_files import load_bundle
from medstyle_gan.inference.highlighting import Highlight, find_highlight
from medstyle_gan.inference.network.arithmetic import resolve_device
from medstyle_gan.inference.outputs.sidecar import NOTE
from medstyle_gan.inference.pictures import COLOUR_SCALE
from medstyle_gan.inference.quantization import output_dtype, quantize
from medstyle_gan.inference.stylize_inputs import (
    Image,
    LoadedStyle,
    as_image,
    as_slices,
    load_style,
    picture_masks,
    picture_tensor,
    prepare_content,
    refuse_same,
    upright,
    volume_masks,
)
from medstyle_gan.inference.stylize_model import find_model, settings_for_model
from medstyle_gan.inference.stylizer import Stylizer, build_style_transfer
from medstyle_gan.methods import Iteration
from medstyle_gan.methods.affine_structure import gradient_correlation, interior
from medstyle_gan.networks import VGG19Features, adapt_channels
from medstyle_gan.volumes import Picture, Volume

Told = Callable[[int, int, Iteration], None]  # slice among those stylised, their number, progress
Row = dict[str, float | int]
_TERMS: Any = {
    "perceptual": {"weight", "layers"},
    "style": {"weight", "layers", "layer_weights"},
    "total_variation": True,
    "continuity": True,
}


@dataclass(frozen=True, eq=False)
class Stylized:
    """A stylised picture or volume.

    Attributes:
        image: `(H, W)` or `(H, W, 3)` uint8 with row 0 at the top, or a volume on the content's
            grid: grey in its units, or RGB.
        scale: how a volume's values are shown; None for a picture.
        anatomy: what there was before, to keep a mark off it: `(rows, columns)` in [-1, 1], of
            a volume the brightest of all slices.
        plane: of a volume's slices.
        curve: a row for each iteration: slice, scale, iteration, loss and its parts.
        facts: for the sidecar; no paths.
    """

    image: np.ndarray | Volume
    scale: FittedScale | None
    anatomy: np.ndarray
    plane: str
    curve: list[Row] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)


def stylize(
    content: Image,
    style: Image | Sequence[Image] = (),
    config: Config | None = None,
    *,
    mask: Image | Sequence[Image] | None = None,
    model: str | Path | Bundle | None = None,
    device: str = "auto",
    on_iteration: Told | None = None,
    on_slice: Callable[[int, int], None] | None = None,
    on_message: Callable[[str], None] | None = None,
) -> Stylized:
    """Give a picture, or each slice of a volume, the style of others.

    Args:
        content: picture (PNG, JPEG), volume (NIfTI, DICOM), or either in memory.
        style: one style or several: pictures or volumes, whose slices are the style; none for a
            method whose model has one, and where `stylize.highlight` only mutes.
        config: settings; None is gatys with its defaults, or the settings of `model`.
        mask: where the style goes, on the content's grid: one for all styles or one a style. With
            `stylize.highlight` the region of interest, where it does not go.
        model: run or bundle of a method that was trained; of the settings only `stylize`,
            `inference`, `method.alpha` and `vgg.weights` can then be other than the model's.
        device: `auto` (a GPU where there is one), `cpu`, `cuda`, `cuda:1`.
        on_iteration: takes the slice among those stylised, their number, and the progress.
        on_slice: takes how many slices are done, of how many.
        on_message: takes what the user should know.

    Raises:
        UserError: content, style, mask, model or settings cannot be used.
    """
    if config is None and model is not None:
        model = model if isinstance(model, Bundle) else load_bundle(model)
        config = model.config
    config = config or default_config("gatys")
    given = _listed(style)
    highlight = config.stylize.highlight
    muted = highlight.region != "off" and highlight.rest == "muted"
    if muted and (given or model is not None):
        raise UserError(
            "stylize.highlight.rest=muted transfers no style; leave --style and --model out, or "
            "set it to stylised"
        )
    bundle = None if muted else find_model(config, model, len(given))
    if bundle is not None:
        config = settings_for_model(config, bundle)
    place = resolve_device(device)
    transfer = None if muted else build_style_transfer(config, place, bundle)
    image = as_image(content, "content")
    styles = [load_style(one, config) for one in given]
    work = _Work(config, place, transfer, styles, bundle, on_iteration, on_slice, on_message)
    masks = [] if mask is None else _listed(mask)
    work.refuse_masks(len(masks))
    if isinstance(image, Picture):
        return work.picture(image, picture_masks(masks, image))
    return work.volume(image, volume_masks(masks, image))


class _Work:
    """One call of `stylize`."""

    def __init__(
        self,
        config: Config,
        device: torch.device,
        transfer: Any,
        styles: list[LoadedStyle],
        bundle: Bundle | None,
        on_iteration: Told | None,
        on_slice: Callable[[int, int], None] | None,
        on_message: Callable[[str], None] | None,
    ) -> None:
        self.config, self.device, self.transfer, self.styles = config, device, transfer, styles
        self.bundle = bundle
        self.on_iteration = on_iteration or (lambda slice_, slices, iteration: None)
        self.on_slice = on_slice or (lambda done, slices: None)
        self.on_message = on_message or (lambda message: None)
        self.curve: list[Row] = []

    def refuse_masks(self, count: int) -> None:
        """Refuse another number of masks than none, one, or one a style."""
        if self.config.stylize.highlight.region != "off":  # which tells of its own
            return
        if count > 1 and count != len(self.styles):
            raise UserError(
                f"{count} masks for {len(self.styles)} style(s); give one mask for all styles, or "
                "one for each in the same order"
            )

    def picture(self, picture: Picture, masks: list[np.ndarray]) -> Stylized:
        content = picture_tensor(picture)
        refuse_same(content, self.styles)
        channels = self._channels(content.shape[1])
        body = np.ones((1, *content.shape[2:]), bool)
        lit = self._highlight(content, body, [mask[None] for mask in masks], 127.5)
        if lit is not None:
            masks = [lit.rest[0]]
        own = adapt_channels(content, channels)
        if self.transfer is None:
            assert lit is not None
            result = lit.muted(own)
        else:
            stylizer = self._stylizer(content, channels)
            regions = [_tensor(mask) for mask in masks] or None
            result = stylizer(content, regions, None, self._telling(0, 1), self.on_message)[0]
            self.on_slice(1, 1)
        if masks:
            fade = _tensor(_faded(np.any(masks, axis=0), self.config.stylize.feather))
            result = own + fade * (result - own)
        native = _levels(result)
        facts = self._facts() | {
            "gradient_correlation": round(gradient_correlation(content, result), 4)
        }
        if lit is None:
            pixels, _ = quantize(native, np.dtype(np.uint8))
        else:
            lit.draw_outline(result)
            added = lit.emphasis(content)
            pixels, shown = lit.in_levels(_levels(own), _levels(result), lit.region, added)
            facts["highlight"] = shown | {"unit": "grey levels of 255"}
        pixels = pixels[0]
        return Stylized(
            pixels[..., 0] if channels == 1 else pixels,
            None,
            adapt_channels(content, 1)[0, 0].numpy(),
            self.config.data.plane,
            self.curve,
            facts,
        )

    def volume(self, volume: Volume, masks: list[np.ndarray]) -> Stylized:
        plane = self.config.data.plane
        prepared = prepare_content(volume, self.config)
        contents = upright(to_slices(prepared.array, plane))
        body, *where = (_upright(m, plane) for m in (prepared.foreground, *masks))
        lit = self._highlight(contents, body, where, prepared.scale.half_range)
        if lit is not None:
            where = [lit.rest]
        where = where or [np.ones_like(body)]
        if self.config.stylize.background == "keep":
            where = [mask & body for mask in where]
        regions = [torch.from_numpy(mask.astype(np.float32))[:, None] for mask in where]
        for number in range(len(contents)):
            refuse_same(contents[number : number + 1], self.styles)
        channels = self._channels(contents.shape[1])
        own = adapt_channels(contents, channels)
        if self.transfer is None:
            assert lit is not None
            results = lit.muted(own)
            done = [int(i) for i in np.flatnonzero(where[0].any(axis=(1, 2)))]
        else:
            results = own.clone()
            done = self._slices(contents, regions, results, channels)
        fade = np.stack([_faded(r, self.config.stylize.feather) for r in _union(regions)])
        faded = torch.from_numpy(fade.astype(np.float32))[:, None]
        results = own + faded * (results - own)
        deep = [interior(torch.from_numpy(region)) for region in _union(regions)]
        correlations = [
            gradient_correlation(contents[i : i + 1], results[i : i + 1], deep[i]) for i in done
        ]
        facts = self._facts() | {
            "slices": len(contents),
            "slices_stylised": len(done),
            "adjacent_slice_difference_ratio": difference_ratio(contents, results),
            "gradient_correlation": round(float(np.mean(correlations)), 4),
            "intensity_scale": prepared.scale.as_dict(),
        }
        if lit is not None:
            lit.draw_outline(results, faded)

        def restored(slices: Tensor) -> np.ndarray:
            return restore_array(from_slices(as_slices(slices), plane), prepared, volume.geometry)

        scale = prepared.scale
        if channels == 1:
            # In native units, so that what lies beyond the scale and outside the mask stays.
            own_values = volume.array.astype(np.float64)
            change = scale.from_unit(restored(results)) - own_values
            native, own_native = own_values + restored(faded) * change, own_values
        else:
            scale = COLOUR_SCALE
            native = scale.from_unit(restored(results))
            own_native = scale.from_unit(restored(own))
        dtype = output_dtype(
            native, self.config.inference.dtype, volume.integer, colour=channels == 3
        )
        if lit is None:
            array, _ = quantize(native, dtype)
        else:
            inside = restored(torch.from_numpy(lit.region.astype(np.float32))[:, None]) > 0.5
            added = restored(torch.from_numpy(lit.emphasis(contents))[:, None])
            if channels == 1:
                array, shown = lit.in_units(own_native, native, inside, added, dtype)
            else:
                array, shown = lit.in_levels(own_native, native, inside, added)
            facts["highlight"] = shown | {"unit": "native units of the scan"}
        return Stylized(
            volume.with_array(array),
            scale,
            contents.amax(dim=(0, 1)).numpy(),
            plane,
            self.curve,
            facts,
        )

    def _highlight(
        self, contents: Tensor, body: np.ndarray, masks: list[np.ndarray], half_range: float
    ) -> Highlight | None:
        return find_highlight(self.config, contents, body, masks, half_range, self.device)

    def _slices(
        self, contents: Tensor, regions: list[Tensor], results: Tensor, channels: int
    ) -> list[int]:
        """Stylise slices in place, outwards from the fullest; gives those that were."""
        area = _union(regions).sum(axis=(1, 2))
        full = np.flatnonzero(area)
        first = int(np.argmax(area))
        stylizer = self._stylizer(contents[:1], channels)
        after = [int(i) for i in full if i > first]
        before = [int(i) for i in full[::-1] if i < first]
        middle: Tensor | None = None
        told = 0
        for way in ([first, *after], before):
            added = middle
            for index in way:
                here = [region[index : index + 1] for region in regions]
                content = contents[index : index + 1]
                result, added = stylizer(
                    content, here, added, self._telling(told, len(full), index), self.on_message
                )
                results[index] = result[0]
                middle = added if middle is None else middle
                told += 1
                self.on_slice(told, len(full))
        return sorted([first, *after, *before])

    def _stylizer(self, content: Tensor, channels: int) -> Stylizer:
        height, width = content.shape[-2:]
        return Stylizer(
            self.transfer, self.config, self.styles, (height, width), channels, self.device
        )

    def _channels(self, content: int) -> int:
        wanted = self.config.stylize.colour
        if wanted != "auto":
            return 3 if wanted == "rgb" else 1
        if self.config.stylize.keep == "colour":  # nothing of a style's
            return content
        if self.transfer is not None and self.transfer.channels is not None:
            return int(self.transfer.channels)
        return max(content, 1, *(image.shape[1] for s in self.styles for image in s.images))

    def _telling(self, number: int, count: int, index: int = 0) -> Callable[[Iteration], None]:
        def tell(iteration: Iteration) -> None:
            self.curve.append(
                {
                    "slice": index,
                    "scale": iteration.scale,
                    "iteration": iteration.number,
                    "loss": iteration.loss,
                    **iteration.parts,
                }
            )
            self.on_iteration(number, count, iteration)

        return tell

    def _facts(self) -> dict[str, Any]:
        vgg = getattr(self.transfer, "vgg", None)
        trained_with = None if self.bundle is None else self.bundle.vgg
        weights = self.config.vgg.weights
        named = weights == "imagenet" or weights.startswith("random:")
        return {
            "synthetic": True,
            "note": NOTE,
            "stylised_by": None  # the rest around a highlighted region is only muted
            if self.transfer is None
            else self.config.method.model_dump(mode="json"),
            "loss": self.config.loss.model_dump(mode="json", include=_TERMS),
            "around": self.config.stylize.model_dump(mode="json"),
            "styles": len(self.styles),
            "seed": self.config.training.seed,
            "vgg": {
                "weights": weights if named else "a file",
                "identity": vgg.identity() if isinstance(vgg, VGG19Features) else trained_with,
            },
            "model": (
                None
                if self.bundle is None
                else {"hash": self.bundle.hash, "steps": self.bundle.steps}
            ),
            "iterations": len(self.curve),
            "last": self.curve[-1] if self.curve else None,
            "device": self.device.type,
            "versions": package_versions(),
        }


def difference_ratio(contents: Tensor, results: Tensor) -> float | None:
    """How much more neighbouring slices differ than they did: mean |differences|, after / before.

    Args:
        contents: `(N, 1 | 3, H, W)` before.
        results: after, on the same slices.

    Returns:
        1 where the style flickers no more than the anatomy changes; None where there was no
        difference to compare with.
    """
    before, after = (adapt_channels(x, 1).diff(dim=0).abs() for x in (contents, results))
    if not before.numel() or not before.any():
        return None
    return round(float(after.mean() / before.mean()), 4)


def _union(regions: Sequence[Tensor]) -> np.ndarray:
    """Bool `(N, H, W)`."""
    return np.any([region[:, 0].numpy() > 0 for region in regions], axis=0)


def _faded(mask: np.ndarray, feather: float) -> np.ndarray:
    """A bool mask that rises from its edge inwards to 1, and is 0 outside."""
    if not feather or mask.all():
        return mask.astype(np.float32)
    return np.clip(distance_transform_edt(mask) / (feather + 1), 0, 1).astype(np.float32)


def _upright(mask: np.ndarray, plane: str) -> np.ndarray:
    """Slices of a mask `(X, Y, Z)`, bool `(N, rows, columns)`."""
    return upright(to_slices(mask[None], plane))[:, 0].numpy() > 0


def _levels(images: Tensor) -> np.ndarray:
    """`(N, C, H, W)` in [-1, 1] as `(N, H, W, C)` grey levels of 255."""
    return COLOUR_SCALE.from_unit(np.moveaxis(images.numpy(), 1, -1))


def _tensor(mask: np.ndarray) -> Tensor:
    return torch.from_numpy(mask.astype(np.float32))[None, None]


def _listed(given: Any) -> list[Any]:
    return list(given) if isinstance(given, list | tuple) else [given]
