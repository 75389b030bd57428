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

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args, overload

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import nn

from medstyle_gan.config import Config
from medstyle_gan.config.inference_sections import Flip, InferenceConfig, path_fault
from medstyle_gan.data.intensity import FittedScale
from medstyle_gan.data.preprocessing import Prepared, prepare_volume, restore_array
from medstyle_gan.data.words import DOMAINS, Direction, Domain
from medstyle_gan.errors import UserError
from medstyle_gan.inference.bundles.bundle import Bundle
from medstyle_gan.inference.bundles.bundle_files import load_bundle
from medstyle_gan.inference.bundles.loading import load_networks
from medstyle_gan.inference.images import Image as ImageLike
from medstyle_gan.inference.images import as_volume, like
from medstyle_gan.inference.network.network import Network, OnProgress
from medstyle_gan.inference.network.paths import translate_mirrored
from medstyle_gan.inference.network.stacks import translate_stack
from medstyle_gan.inference.pictures import COLOUR_SCALE, translate_picture
from medstyle_gan.inference.quantization import output_dtype, quantize
from medstyle_gan.inference.scope import ScopeReport, check_scope, refuse_out_of_scope
from medstyle_gan.inference.translation import Translation, count_clipped, native_body
from medstyle_gan.inference.uncertainty import (
    native_spread,
    restore_earlier,
    translate_with_spread,
    ways_to_see,
)
from medstyle_gan.networks.precision import Precision, resolve_precision
from medstyle_gan.networks.winograd import with_fewer_multiplications
from medstyle_gan.volumes import Geometry, Picture, Volume
from medstyle_gan.volumes.workspace import Workspace


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
        bundle: what the model was loaded from, whose run may have earlier checkpoints for the
            uncertainty.
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
        bundle: Bundle | None = None,
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
        self._bundle = bundle
        self._earlier: dict[Direction, dict[int, nn.Module]] = {}
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
            UserError: for a folder that is no model, damaged files, an unknown device, and
                settings that a network of these dimensions cannot follow.
        """
        bundle = model if isinstance(model, Bundle) else load_bundle(model)
        config = bundle.config
        if inference is not None:
            if fault := path_fault(inference, config.data):
                raise UserError(fault)
            config = config.model_copy(update={"inference": inference})
        networks = load_networks(bundle, device, precision)
        translator = cls(
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
            # Without the weights: the generators have them.
            bundle=replace(bundle, state={}, graphs={}, weights_hash=bundle.hash),
            fingerprint=bundle.fingerprint,
            strict=strict,
        )
        translator.generators = {
            direction: translator._ready(generator)
            for direction, generator in translator.generators.items()
        }
        return translator

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
                is pictures, where there are no several translations, and with `strict` for
                what is out of scope.
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
            unit = translate_mirrored(self.network(direction), prepared, on_progress)
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
            warnings=() if scope is None else scope.warnings,
            scope=scope,
            uncertainty=None if spread is None else volume.with_array(spread),
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
        target = DOMAINS[direction][1]
        value = np.array([self.background[target]], dtype=np.float32)
        unit = translate_mirrored(self.network(direction), prepared)
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

    def network(self, direction: Direction) -> Network:
        """A direction's generator with all that decides how it is run."""
        return self._network(self.generators[direction], direction)

    def networks(self, direction: Direction) -> list[Network]:
        """All of a direction's generators that the uncertainty is over, the model's own first.

        Raises:
            UserError: for a file that is no checkpoint of this model.
        """
        earlier = self._earlier_generators(direction).values()
        return [self.network(direction), *(self._network(g, direction) for g in earlier)]

    def uncertainty_over(self, direction: Direction) -> dict[str, Any]:
        """Which translations the uncertainty is the spread of, in plain values.

        Returns:
            `flips`, the sets of axes that the volume is mirrored along; `steps` of the
            generators, the model's own first; and the number of `translations`.

        Raises:
            UserError: where there is only one translation, and for a file that is no
                checkpoint of this model.
        """
        steps = [self.steps, *self._earlier_generators(direction)]
        seen = ways_to_see(self.network(direction), len(steps))
        names = get_args(Flip)
        return {
            "flips": [[names[axis] for axis in axes] for axes in seen],
            "steps": steps,
            "translations": len(steps) * len(seen),
        }

    def _network(self, generator: nn.Module, direction: Direction) -> Network:
        source, target = DOMAINS[direction]
        return Network(
            generator=generator,
            in_channels=self.channels[source],
            out_channels=self.channels[target],
            data=self.config.data,
            inference=self.config.inference,
            device=self.device,
            precision=self.precision,
        )

    def _ready(self, generator: nn.Module) -> nn.Module:
        """A restored generator where it runs, and as it runs fastest there."""
        return with_fewer_multiplications(generator.to(self.device), self.device, self.precision)

    def _earlier_generators(self, direction: Direction) -> dict[int, nn.Module]:
        """Those of the run's earlier checkpoints by step, read when they are asked for first."""
        if direction not in self._earlier:
            bundle = self._bundle
            found = {} if bundle is None else restore_earlier(bundle, direction)
            self._earlier[direction] = {
                step: self._ready(generator) for step, generator in found.items()
            }
        return self._earlier[direction]

    def _check_scope(self, prepared: Prepared, geometry: Geometry, domain: Domain) -> ScopeReport:
        return check_scope(prepared, geometry, domain, self.fingerprint.get(domain, {}))

    def _native_scale(self, domain: Domain) -> FittedScale:
        return COLOUR_SCALE if self.channels[domain] == 3 else self.scales[domain]
