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

from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike

from medstyle_gan.data.intensity import FittedScale
from medstyle_gan.data.preprocessing import Prepared, prepare_volume, restore_array
from medstyle_gan.data.slices import stacked_axis
from medstyle_gan.data.words import Direction, Domain, domains_of
from medstyle_gan.errors import UserError
from medstyle_gan.inference.images import Image as ImageLike
from medstyle_gan.inference.images import as_volume, like
from medstyle_gan.inference.loaded_model import LoadedModel
from medstyle_gan.inference.network.body import window_warnings
from medstyle_gan.inference.network.network import OnProgress
from medstyle_gan.inference.network.paths import translate_all_ways
from medstyle_gan.inference.network.stacks import translate_stack
from medstyle_gan.inference.pictures import COLOUR_SCALE, translate_picture
from medstyle_gan.inference.quantization import output_dtype, quantize
from medstyle_gan.inference.scope import ScopeReport, check_scope, refuse_out_of_scope
from medstyle_gan.inference.structure import native_with_structure
from medstyle_gan.inference.translation import Translation, count_clipped, native_body
from medstyle_gan.inference.uncertainty import (
    native_spread,
    translate_with_spread,
)
from medstyle_gan.volumes import Geometry, Picture, Volume
from medstyle_gan.volumes.workspace import Workspace


class Translator(LoadedModel):
    """Translates whole volumes between the scan and the style domain.

    A 2-D model translates each slice whole and a 3-D model the whole body, layer by layer, so
    that there are no seams, see `translate_body`. Where the foreground mask of the input finds no
    body, the translation takes the target collection's background value; the edge is as sharp as
    the working grid and, where the volume had to be resampled to the training's spacing, softened
    by linear interpolation over one working voxel.

    With `inference.structure=preserved` a translation is a local affine map of the input's own
    voxels that comes closest to the network's answer, see `native_with_structure`; the spread
    that `uncertainty` tells is then still that of the network's answers.

    A translator can be copied and pickled, for the workers of a `DataLoader` too.
    """

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
        source, _ = domains_of(direction)
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
        uncertainty: bool = False,
        strict: bool = False,
    ) -> Translation[Volume]:
        """Translate a volume, keeping its geometry.

        Args:
            image: a volume, its file, or a nibabel image.
            direction: which generator.
            on_progress: called with the share of the work done, in [0, 1].
            workspace: where arrays of the volume's size are made; in memory by default. The
                voxels are the same wherever that is.
            uncertainty: also tell how far several translations differ, see
                `translate_with_spread`; takes as many times as long.
            strict: refuse what is out of the model's scope, or cannot be checked.

        Returns:
            the translation on the input's own grid, in native units of the collection
            translated into; `(X, Y, Z)`, or `(X, Y, Z, 3)` uint8 for a colour style.

        Raises:
            UserError: for a file that is no usable volume, where the domain translated from
                is pictures, where there are no several translations, with `strict` for what is
                out of scope, and for a direction that the model does not translate.
        """
        source, target = domains_of(direction)
        self.refuse_direction(direction)
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
        scale = self._native_scale(target)
        spread: np.ndarray | None = None
        if uncertainty:
            networks = self.networks(direction)
            unit, deviations = translate_with_spread(networks, prepared, on_progress)
            spread = restore_array(
                native_spread(deviations, prepared, scale), prepared, volume.geometry
            )
            del deviations
        else:
            unit = translate_all_ways(self.network(direction), prepared, on_progress)
        correlation: float | None = None
        if self.config.inference.structure == "preserved":
            native, correlation = native_with_structure(
                volume,
                unit,
                prepared,
                scale,
                self.background[target],
                self.config.inference,
                stacked_axis(self.config.data.plane),
            )
        else:
            native = native_body(unit, prepared.foreground, scale, self.background[target])
            native = restore_array(native, prepared, volume.geometry)
        colour = self.channels[target] == 3
        dtype = output_dtype(
            native, self.config.inference.dtype, self.integer[target], colour=colour
        )
        array, beyond = quantize(native, dtype, workspace)
        return Translation(
            image=volume.with_array(array),
            direction=direction,
            input_scale=prepared.scale,
            output_scale=scale,
            background=self.background[target],
            clipped=count_clipped(volume.array, prepared.scale, beyond),
            warnings=(
                *(() if scope is None else scope.warnings),
                *window_warnings(self.network(direction), prepared.foreground),
            ),
            scope=scope,
            uncertainty=None if spread is None else volume.with_array(spread),
            gradient_correlation=correlation,
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
                pictures, or the model does not translate in this direction.
        """
        source, _ = domains_of(direction)
        self.refuse_direction(direction)
        if not self.pictures[source]:
            raise UserError(
                f"{direction}: this model's {source} collection is volumes, so it takes "
                "volumes (NIfTI) in this direction, not pictures"
            )
        return translate_picture(self.network(direction), picture, direction)

    def translate_unit(self, prepared: Prepared, direction: Direction) -> np.ndarray:
        """What the network itself gives for a prepared volume, as validation compares it.

        Args:
            prepared: on the working grid.
            direction: which generator.

        Returns:
            `(C', X, Y, Z)` float32 in [-1, 1], outside the body the target collection's
            background.
        """
        target = domains_of(direction)[1]
        value = np.array([self.background[target]], dtype=np.float32)
        unit = translate_all_ways(self.network(direction), prepared)
        unit[:, ~prepared.foreground] = self._native_scale(target).to_unit(value)
        return unit

    def translate_slices(
        self, slices: np.ndarray, direction: Direction, fill: float = -1.0
    ) -> np.ndarray:
        """Translate the slices of a volume that are prepared already.

        Args:
            slices: `(N, C, H, W)` in [-1, 1], in their order.
            direction: which generator.
            fill: their background in [-1, 1], for slices smaller than the sample.

        Returns:
            `(N, C', H, W)` float32 in [-1, 1], background translated like all else.
        """
        return translate_stack(self.network(direction), slices, fill)

    def _check_scope(self, prepared: Prepared, geometry: Geometry, domain: Domain) -> ScopeReport:
        return check_scope(prepared, geometry, domain, self.fingerprint.get(domain, {}))

    def _native_scale(self, domain: Domain) -> FittedScale:
        return COLOUR_SCALE if self.channels[domain] == 3 else self.scales[domain]
