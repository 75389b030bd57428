"""Translation as a step of a MONAI pipeline."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any, Literal

from monai.config import KeysCollection
from monai.transforms import MapTransform

from medstyle_gan.data.words import Direction, domains_of
from medstyle_gan.inference.translator import Translator


class TranslateStyled(MapTransform):
    """Translate the volumes of a dictionary, each on its own grid, in native units.

    It stands after `LoadImaged`, before whatever reorients, resamples or scales: the model brings
    its own preprocessing. A model given by its path is loaded at the first volume in each
    process, so that the workers of a `DataLoader` are sent a path and not weights; each worker
    then holds its own copy. Workers that are forked cannot use a GPU that the main process
    uses already (a rule of CUDA): translate on the CPU there, or start workers by `spawn`.

    Args:
        keys: which entries; each a `MetaTensor`, or what else `Translator` takes.
        model: a run folder, a bundle's folder, or a translator.
        direction: which way.
        device: as `Translator.load` takes it; not used for a translator.
        precision: likewise.
        strict: refuse what is out of the model's scope.
        allow_missing_keys: skip entries that a dictionary does not have.

    Raises:
        UserError: for a direction that is none; at the first volume, as `Translator.load` and
            `Translator.translate` do.

    Example:
        >>> from monai.transforms import Compose, LoadImaged
        >>> from medstyle_gan import TranslateStyled
        >>> pipeline = Compose([
        ...     LoadImaged("image", ensure_channel_first=True),
        ...     TranslateStyled("image", "runs/t1_to_t2", device="cpu"),
        ... ])
        >>> pipeline({"image": "patient.nii.gz"})["image"].shape
        torch.Size([1, 32, 32, 8])
    """

    def __init__(
        self,
        keys: KeysCollection,
        model: str | Path | Translator,
        direction: Direction = "scan_to_style",
        device: str = "auto",
        precision: Literal["auto", "fp32", "bf16"] = "auto",
        strict: bool = False,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        domains_of(direction)  # a wrong one is told now, not in a worker
        self.model = model
        self.direction = direction
        self.device = device
        self.precision = precision
        self.strict = strict
        self._loaded: Translator | None = None

    @property
    def translator(self) -> Translator:
        """The model, loaded at first use.

        Raises:
            UserError: as `Translator.load` does.
        """
        if isinstance(self.model, Translator):
            return self.model
        if self._loaded is None:
            self._loaded = Translator.load(self.model, self.device, self.precision)
        return self._loaded

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Translate the entries of `keys`; the others are passed on.

        Raises:
            UserError: for what cannot be translated.
        """
        translated = dict(data)
        for key in self.key_iterator(translated):
            translated[key] = self.translator(translated[key], self.direction, strict=self.strict)
        return translated

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_loaded": None}
