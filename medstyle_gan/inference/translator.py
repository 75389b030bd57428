"""Volume in, volume out: prepared as in training, translated slice by slice or in 3-D, put back.

Example:
    translator = Translator.load("runs/t1_to_t2")
    translation = translator("patient.nii.gz")
    write_volume("patient_t2.nii.gz", translation.array, translation.geometry)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import nibabel as nib
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from medstyle_gan.config import Config
from medstyle_gan.config.schema import InferenceConfig
from medstyle_gan.data.intensity import FittedScale
from medstyle_gan.data.preprocessing import (
    Prepared,
    display_image,
    from_slices,
    prepare_picture,
    prepare_volume,
    restore_array,
    to_slices,
)
from medstyle_gan.data.slices import stacked_axis
from medstyle_gan.data.words import DIRECTIONS, DOMAINS, Direction, Domain
from medstyle_gan.errors import UserError
from medstyle_gan.inference.bundle import Bundle, load_bundle, model_hash
from medstyle_gan.inference.generators import generate, resolve_device, restore_generator
from medstyle_gan.inference.images import as_volume
from medstyle_gan.inference.quantization import output_dtype, quantize
from medstyle_gan.inference.translation import Translation, count_clipped
from medstyle_gan.inference.windows import translate_body
from medstyle_gan.networks.precision import Precision, resolve_precision
from medstyle_gan.volumes import Picture, Volume, read_picture
from medstyle_gan.volumes.workspace import Workspace, release

# A colour style is made of 8-bit RGB pictures, and NIfTI's RGB is 8-bit too.
COLOUR_SCALE = FittedScale(center=127.5, half_range=127.5, clip=True)

OnProgress = Callable[[float], None]


class Translator:
    """Translates whole volumes between the scan and the style domain.

    A 2-D model translates each slice whole, so that there are no seams; a 3-D model goes over
    the body in overlapping windows of its samples' size, see `translate_windows`. Where the
    foreground mask of the input finds no body, the translation takes the target collection's
    background value; the edge is as sharp as the working grid and, where the volume had to be
    resampled to the training's spacing, softened by linear interpolation over one working voxel.

    Args:
        config: settings of the training; of these `data` and `inference` are used.
        generators: direction → generator in evaluation mode, with its `divisor`.
        channels: domain → channels that the generators take and give.
        scales: domain → intensity scale that gives translations their native units.
        integer: domain → whether its collection holds integers.
        background: domain → native value outside the body.
        pictures: domain → whether its collection is pictures.
        device: where the generators are.
        precision: arithmetic of the generators.
        model_hash: the weights' sha256, for sidecars.
        steps: steps of training, for sidecars.
    """

    def __init__(
        self,
        config: Config,
        generators: Mapping[str, nn.Module],
        *,
        channels: Mapping[str, int],
        scales: Mapping[str, FittedScale],
        integer: Mapping[str, bool],
        background: Mapping[str, float],
        pictures: Mapping[str, bool],
        device: torch.device,
        precision: Precision,
        model_hash: str | None = None,
        steps: int | None = None,
    ) -> None:
        self.config = config
        self.generators = dict(generators)
        self.channels = dict(channels)
        self.scales = dict(scales)
        self.integer = dict(integer)
        self.background = dict(background)
        self.pictures = dict(pictures)
        self.device = device
        self.precision = precision
        self.model_hash = model_hash
        self.steps = steps

    @classmethod
    def load(
        cls,
        model: str | Path | Bundle,
        device: str = "auto",
        precision: Literal["auto", "fp32", "bf16"] = "auto",
        inference: InferenceConfig | None = None,
    ) -> Translator:
        """Make the translator of a trained model.

        Args:
            model: a run folder, a bundle's folder, or a bundle.
            device: `auto` (a GPU where there is one), `cpu`, `cuda`, `cuda:1`, ...
            precision: `auto` takes bf16 where the hardware multiplies it natively.
            inference: settings to use in place of the bundle's own.

        Raises:
            UserError: for a folder that is no model, damaged files, an unknown device.
        """
        bundle = model if isinstance(model, Bundle) else load_bundle(model)
        config = bundle.config
        if inference is not None:
            config = config.model_copy(update={"inference": inference})
        place = resolve_device(device)
        return cls(
            config,
            {d: restore_generator(bundle, d).to(place) for d in DIRECTIONS},
            channels=bundle.channels,
            scales=bundle.scales,
            integer=bundle.integer,
            background=bundle.background,
            pictures=bundle.pictures,
            device=place,
            precision=resolve_precision(precision, place),
            model_hash=model_hash(bundle.state),
            steps=bundle.steps,
        )

    @classmethod
    def from_generators(
        cls,
        config: Config,
        generators: Mapping[str, nn.Module],
        *,
        scales: Mapping[str, FittedScale],
        channels: Mapping[str, int],
        integer: Mapping[str, bool],
        background: Mapping[str, float],
        pictures: Mapping[str, bool] | None = None,
        precision: Literal["auto", "fp32", "bf16"] = "auto",
    ) -> Translator:
        """Make a translator around generators in memory, as validation does while training.

        The generators are used as and where they are: put them in evaluation mode first.
        `describe_collections` gives all arguments but the first two.
        """
        first = next((p for g in generators.values() for p in g.parameters()), None)
        device = torch.device("cpu") if first is None else first.device
        return cls(
            config,
            generators,
            channels=channels,
            scales=scales,
            integer=integer,
            background=background,
            pictures=pictures or {"scan": False, "style": False},
            device=device,
            precision=resolve_precision(precision, device),
        )

    def __call__(
        self,
        image: Volume | str | Path | nib.spatialimages.SpatialImage,
        direction: Direction = "scan_to_style",
    ) -> Volume:
        """Translate a volume; see `translate`."""
        return self.translate(image, direction).image

    def translate(
        self,
        image: Volume | str | Path | nib.spatialimages.SpatialImage,
        direction: Direction = "scan_to_style",
        on_progress: OnProgress | None = None,
        workspace: Workspace | None = None,
    ) -> Translation[Volume]:
        """Translate a volume, keeping its geometry.

        Args:
            image: a volume, its file, or a nibabel image.
            direction: which generator.
            on_progress: called with the share of the slices or windows done, in [0, 1].
            workspace: where arrays of the volume's size are made; in memory by default. The
                voxels are the same wherever that is.

        Returns:
            the translation on the input's own grid, in native units of the collection
            translated into; `(X, Y, Z)`, or `(X, Y, Z, 3)` uint8 for a colour style.

        Raises:
            UserError: for a file that is no usable volume, and where the domain translated
                from is pictures.
        """
        source, target = DOMAINS[direction]
        if self.pictures[source]:
            raise UserError(
                f"{direction}: this model's {source} collection is pictures, so it takes "
                "pictures (PNG, JPEG) in this direction, not volumes"
            )
        workspace = workspace or Workspace()
        volume = as_volume(image, workspace)
        prepared = prepare_volume(volume, self.config.data, source, workspace)
        working = self._translate_prepared(prepared, direction, on_progress)
        native = restore_array(working, prepared, volume.geometry)
        colour = self.channels[target] == 3
        dtype = output_dtype(
            native, self.config.inference.dtype, self.integer[target], colour=colour
        )
        array, beyond = quantize(native, dtype, workspace)
        return Translation(
            image=Volume(
                array=array,
                geometry=volume.geometry,
                dtype=dtype,
                integer=bool(np.issubdtype(dtype, np.integer)),
                path=None,
            ),
            direction=direction,
            input_scale=prepared.scale,
            output_scale=self._native_scale(target),
            background=self.background[target],
            clipped=count_clipped(volume.array, prepared.scale, beyond),
        )

    def translate_picture(
        self, picture: Picture | str | Path, direction: Direction = "style_to_scan"
    ) -> Translation[np.ndarray]:
        """Translate a picture to a picture of the same size.

        Args:
            picture: a picture or its file.
            direction: which generator; the domain translated from must be pictures.

        Returns:
            `(H, W, 1 | 3)` uint8 with row 0 at the top, black and white being the ends of
            the intensity scale.

        Raises:
            UserError: for an unusable picture, and where the domain translated from is not
                pictures.
        """
        source, _ = DOMAINS[direction]
        if not self.pictures[source]:
            raise UserError(
                f"{direction}: this model's {source} collection is volumes, so it takes "
                "volumes (NIfTI) in this direction, not pictures"
            )
        picture = picture if isinstance(picture, Picture) else read_picture(picture)
        prepared = prepare_picture(picture, self.config.data)
        unit = self.translate_slices(to_slices(prepared.array, "axial"), direction)
        upright = np.atleast_3d(display_image(unit[0]))
        resized = F.interpolate(
            torch.from_numpy(np.ascontiguousarray(np.moveaxis(upright, -1, 0)))[None],
            size=picture.array.shape[:2],
            mode="bilinear",
            antialias=True,
        )
        native = COLOUR_SCALE.from_unit(np.moveaxis(resized[0].numpy(), 0, -1))
        pixels, beyond = quantize(native, np.dtype(np.uint8))
        return Translation(
            image=pixels,
            direction=direction,
            input_scale=prepared.scale,
            output_scale=COLOUR_SCALE,
            background=None,
            clipped=count_clipped(picture.array, prepared.scale, beyond),
        )

    def translate_unit(self, prepared: Prepared, direction: Direction) -> np.ndarray:
        """What the network itself gives for a prepared volume, as validation compares it.

        Args:
            prepared: on the working grid.
            direction: which generator.

        Returns:
            `(C', X, Y, Z)` float32 in [-1, 1], outside the body the target collection's
            background.
        """
        target = DOMAINS[direction][1]
        value = np.array([self.background[target]], dtype=np.float32)
        background = self._native_scale(target).to_unit(value)
        if self.config.data.dims == 3:
            shape = (self.channels[target], *prepared.array.shape[1:])
            unit = np.broadcast_to(background, shape).copy()
            body, place = self._translate_body(prepared, direction, None)
            unit[(slice(None), *place)] = body
        else:
            plane = self.config.data.plane
            slices = to_slices(prepared.array, plane)
            unit = from_slices(self.translate_slices(slices, direction, _fill(prepared)), plane)
        return np.where(prepared.foreground, unit, background)

    def translate_slices(
        self, slices: np.ndarray, direction: Direction, fill: float = -1.0
    ) -> np.ndarray:
        """Translate slices that are prepared already, as validation has them.

        Args:
            slices: `(N, C, H, W)` in [-1, 1].
            direction: which generator.
            fill: their background in [-1, 1], for slices smaller than the sample.

        Returns:
            `(N, C', H, W)` float32 in [-1, 1], background translated like all else.
        """
        size = self.config.inference.batch_size
        return np.concatenate(
            [
                self._generate(slices[start : start + size], direction, fill)
                for start in range(0, len(slices), size)
            ]
        )

    def _translate_prepared(
        self, prepared: Prepared, direction: Direction, on_progress: OnProgress | None
    ) -> np.ndarray:
        """The translation on the working grid, `(C, X, Y, Z)` float32 in native units."""
        target = DOMAINS[direction][1]
        plane, size = self.config.data.plane, self.config.inference.batch_size
        background, scale = np.float32(self.background[target]), self._native_scale(target)
        shape = (self.channels[target], *prepared.array.shape[1:])
        slowest = 1 + stacked_axis(plane)  # the slices in one piece each
        working = prepared.workspace.full(shape, np.float32, float(background), slowest)
        if self.config.data.dims == 3:
            body, place = self._translate_body(prepared, direction, on_progress)
            native = scale.from_unit(body)
            working[(slice(None), *place)] = np.where(
                prepared.foreground[place], native, background
            )
            return working
        slices, translated = to_slices(prepared.array, plane), to_slices(working, plane)
        inside = to_slices(prepared.foreground[None], plane)
        fill = _fill(prepared)
        # A slice without any body is background throughout: no need to translate it.
        body = np.array([n for n, one in enumerate(inside) if one.any()], dtype=int)
        for start in range(0, len(body), size):
            index = body[start : start + size]
            native = scale.from_unit(self._generate(slices[index], direction, fill))
            translated[index] = np.where(inside[index], native, background)
            release(slices, inside, translated)
            if on_progress is not None:
                on_progress((start + len(index)) / len(body))
        return working

    def _translate_body(
        self, prepared: Prepared, direction: Direction, on_progress: OnProgress | None
    ) -> tuple[np.ndarray, tuple[slice, ...]]:
        """A 3-D model's translation in [-1, 1] of the part around the body, and its place."""
        return translate_body(
            self.generators[direction],
            prepared.array,
            prepared.foreground,
            in_channels=self.channels[DOMAINS[direction][0]],
            window=self.config.data.sample_size,
            fill=_fill(prepared),
            device=self.device,
            precision=self.precision,
            on_progress=on_progress,
        )

    def _generate(self, slices: np.ndarray, direction: Direction, fill: float) -> np.ndarray:
        return generate(
            self.generators[direction],
            slices,
            in_channels=self.channels[DOMAINS[direction][0]],
            sample_size=self.config.data.sample_size,
            fill=fill,
            device=self.device,
            precision=self.precision,
        )

    def _native_scale(self, domain: Domain) -> FittedScale:
        return COLOUR_SCALE if self.channels[domain] == 3 else self.scales[domain]


def _fill(prepared: Prepared) -> float:
    """A prepared volume's background in [-1, 1]."""
    return float(prepared.scale.to_unit(np.array([prepared.background]))[0])
