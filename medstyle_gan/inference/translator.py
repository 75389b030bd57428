"""Volume in, volume out: prepared as in training, translated slice by slice or in 3-D, put back.

Example:
    >>> from medstyle_gan import Translator
    >>> from medstyle_gan.volumes import write_volume
    >>> translator = Translator.load("runs/t1_to_t2", device="cpu")
    >>> translation = translator("patient.nii.gz")
    >>> translation.geometry.shape
    (32, 32, 8)
    >>> write_volume("patient_t2.nii.gz", translation.array, translation.geometry)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike
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
from medstyle_gan.data.words import DOMAINS, Direction, Domain
from medstyle_gan.errors import UserError
from medstyle_gan.inference.bundle import Bundle
from medstyle_gan.inference.bundle_files import load_bundle
from medstyle_gan.inference.generators import generate
from medstyle_gan.inference.images import Image as ImageLike
from medstyle_gan.inference.images import as_volume, like
from medstyle_gan.inference.loading import load_networks
from medstyle_gan.inference.quantization import output_dtype, quantize
from medstyle_gan.inference.scope import ScopeReport, check_scope, refuse_out_of_scope
from medstyle_gan.inference.translation import Translation, count_clipped
from medstyle_gan.inference.windows import translate_body
from medstyle_gan.networks.precision import Precision, resolve_precision
from medstyle_gan.volumes import Geometry, Picture, Volume, read_picture
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
        fingerprint: domain → what its collection was like, for `check_scope`.
        strict: refuse volumes that are out of the model's scope, or cannot be checked.

    A translator can be copied and pickled, for the workers of a `DataLoader` too.
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
        fingerprint: Mapping[str, Any] | None = None,
        strict: bool = False,
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
        self.fingerprint = dict(fingerprint or {})
        self.strict = strict

    @classmethod
    def load(
        cls,
        model: str | Path | Bundle,
        device: str = "auto",
        precision: Literal["auto", "fp32", "bf16"] = "auto",
        inference: InferenceConfig | None = None,
        strict: bool = False,
    ) -> Translator:
        """Make the translator of a trained model.

        Args:
            model: a run folder, the folder of a bundle of any format, or a bundle.
            device: `auto` (a GPU where there is one), `cpu`, `cuda`, `cuda:1`, ...
            precision: `auto` takes bf16 where the hardware multiplies it natively.
            inference: settings to use in place of the bundle's own.
            strict: refuse volumes that are out of the model's scope, or cannot be checked.

        Raises:
            UserError: for a folder that is no model, damaged files, an unknown device.
        """
        bundle = model if isinstance(model, Bundle) else load_bundle(model)
        config = bundle.config
        if inference is not None:
            config = config.model_copy(update={"inference": inference})
        networks = load_networks(bundle, device, precision)
        return cls(
            config,
            networks.generators,
            channels=bundle.channels,
            scales=bundle.scales,
            integer=bundle.integer,
            background=bundle.background,
            pictures=bundle.pictures,
            device=networks.device,
            precision=networks.precision,
            model_hash=bundle.hash,
            steps=bundle.steps,
            fingerprint=bundle.fingerprint,
            strict=strict,
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

    @overload
    def __call__(
        self,
        image: Volume | str | Path,
        direction: Direction = ...,
        affine: None = ...,
        strict: bool = ...,
    ) -> Volume: ...
    @overload
    def __call__(
        self,
        image: ImageLike,
        direction: Direction = ...,
        affine: ArrayLike | None = ...,
        strict: bool = ...,
    ) -> Any: ...
    def __call__(
        self,
        image: ImageLike,
        direction: Direction = "scan_to_style",
        affine: ArrayLike | None = None,
        strict: bool = False,
    ) -> Any:
        """Translate an image into one of the same kind.

        Args:
            image: a path, a `Volume`, a nibabel image, a MONAI `MetaTensor`, or a tensor or
                array, see `as_volume`.
            direction: which generator.
            affine: `(4, 4)`, voxel index to mm, RAS+: needed for a tensor or array.
            strict: refuse what is out of the model's scope, or cannot be checked.

        Returns:
            the same kind, on the same grid; a `Volume` for a path. See `like`.

        Raises:
            UserError: as `translate` does.
            TypeError: for what is no image, and an array without an affine.

        Example:
            >>> import nibabel, torch
            >>> from medstyle_gan import Translator
            >>> translator = Translator.load("runs/t1_to_t2", device="cpu")
            >>> image = nibabel.load("patient.nii.gz")
            >>> type(translator(image)).__name__
            'Nifti1Image'
            >>> array = image.get_fdata(dtype="float32")
            >>> translator(array, affine=image.affine).shape
            (32, 32, 8)
            >>> translator(torch.from_numpy(array)[None], affine=image.affine).shape
            torch.Size([1, 32, 32, 8])
        """
        volume = as_volume(image, affine)
        return like(image, self.translate(volume, direction, strict=strict).image)

    def check_scope(
        self,
        image: ImageLike,
        direction: Direction = "scan_to_style",
        affine: ArrayLike | None = None,
    ) -> ScopeReport:
        """Tell whether a volume is of the kind that this model was trained to translate.

        Args:
            image: as `__call__` takes it.
            direction: the domain translated from is what it is compared with.
            affine: as `__call__` takes it.

        Raises:
            UserError: for an image that is no usable volume.

        Example:
            >>> from medstyle_gan import Translator
            >>> translator = Translator.load("runs/t1_to_t2", device="cpu")
            >>> report = translator.check_scope("patient.nii.gz")
            >>> report.in_scope, report.warnings
            (True, ())
        """
        source, _ = DOMAINS[direction]
        volume = as_volume(image, affine)
        return self._check_scope(
            prepare_volume(volume, self.config.data, source), volume.geometry, source
        )

    def translate(
        self,
        image: ImageLike,
        direction: Direction = "scan_to_style",
        on_progress: OnProgress | None = None,
        workspace: Workspace | None = None,
        strict: bool = False,
    ) -> Translation[Volume]:
        """Translate a volume, keeping its geometry.

        Args:
            image: a volume, its file, or a nibabel image.
            direction: which generator.
            on_progress: called with the share of the slices or windows done, in [0, 1].
            workspace: where arrays of the volume's size are made; in memory by default. The
                voxels are the same wherever that is.
            strict: refuse what is out of the model's scope, or cannot be checked.

        Returns:
            the translation on the input's own grid, in native units of the collection
            translated into; `(X, Y, Z)`, or `(X, Y, Z, 3)` uint8 for a colour style.

        Raises:
            UserError: for a file that is no usable volume, where the domain translated from
                is pictures, and with `strict` for what is out of scope.
        """
        source, target = DOMAINS[direction]
        if self.pictures[source]:
            raise UserError(
                f"{direction}: this model's {source} collection is pictures, so it takes "
                "pictures (PNG, JPEG) in this direction, not volumes"
            )
        workspace = workspace or Workspace()
        volume = as_volume(image, workspace=workspace)
        prepared = prepare_volume(volume, self.config.data, source, workspace)
        scope = self._check_scope(prepared, volume.geometry, source) if self.fingerprint else None
        if strict or self.strict:
            refuse_out_of_scope(scope)
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
            warnings=() if scope is None else scope.warnings,
            scope=scope,
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

    def _check_scope(self, prepared: Prepared, geometry: Geometry, domain: Domain) -> ScopeReport:
        return check_scope(prepared, geometry, domain, self.fingerprint.get(domain, {}))

    def _native_scale(self, domain: Domain) -> FittedScale:
        return COLOUR_SCALE if self.channels[domain] == 3 else self.scales[domain]


def _fill(prepared: Prepared) -> float:
    """A prepared volume's background in [-1, 1]."""
    return float(prepared.scale.to_unit(np.array([prepared.background]))[0])
