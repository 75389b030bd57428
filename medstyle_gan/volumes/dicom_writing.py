"""Writes a volume as a DICOM series that is derived from the one it was made of."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medstyle_gan.errors import UserError
from medstyle_gan.volumes.atomic import atomic_folder
from medstyle_gan.volumes.dicom_files import DicomSeries
from medstyle_gan.volumes.dicom_library import require_pydicom, set_file_meta
from medstyle_gan.volumes.dicom_profile import Profile, apply_profile, code_item
from medstyle_gan.volumes.dicom_quantization import StoredPixels, store_pixels
from medstyle_gan.volumes.dicom_slices import Slice
from medstyle_gan.volumes.dicom_stack import stack_series
from medstyle_gan.volumes.dicom_uids import UidMap
from medstyle_gan.volumes.volume import Volume

if TYPE_CHECKING:
    from pydicom import Dataset

_FILE = re.compile(r"(slice|frames)_\d{4,}\.dcm")
_TEXT = 64  # characters of an LO
_DERIVED_NUMBER = 1000  # added to Series Number, so that the derived series lists apart
# Of the source's pixels, and untrue of the new ones.
_OF_THE_SOURCE = (
    *("SmallestImagePixelValue", "LargestImagePixelValue", "SmallestPixelValueInSeries"),
    *("LargestPixelValueInSeries", "PixelPaddingValue", "PixelPaddingRangeLimit"),
    *("VOILUTSequence", "VOILUTFunction", "WindowCenterWidthExplanation", "PresentationLUTShape"),
    *("RealWorldValueMappingSequence", "ColorSpace", "ICCProfile", "SeriesDate", "SeriesTime"),
    *("PixelData", "FloatPixelData", "DoubleFloatPixelData", "ExtendedOffsetTable"),
    *("ExtendedOffsetTableLengths", "RescaleSlope", "RescaleIntercept", "RescaleType"),
    *("SourceImageSequence", "InstanceCreationDate", "InstanceCreationTime"),
)
_FRAME_OF_THE_SOURCE = (
    *("PixelValueTransformationSequence", "FrameVOILUTSequence"),
    *("RealWorldValueMappingSequence", "DerivationImageSequence"),
)


def write_derived_series(
    folder: str | os.PathLike[str],
    volume: Volume,
    like: DicomSeries,
    profile: Profile = "basic",
    *,
    description: str = "medstyle_gan",
    derivation: str = "Made by a generative model, not acquired; not for diagnosis.",
    identity: str = "",
    uids: UidMap | None = None,
    pseudonym: str | None = None,
) -> list[Path]:
    """Writes a translation as a new series, in place of each source slice a derived one.

    The new series lies in the source's study and frame of reference, so that viewers overlay
    both; under `basic` study and frame get new UIDs, the same for all series written with the
    same `uids`. Series and instances always get new UIDs. Pixels are int16 with one rescale
    for the series (exact for whole numbers within 65,536 values, else half a step of a 65,534th
    of the range off), and a window over the middle 98 % of the values.

    Args:
        folder: Of the new series: it appears whole or not at all, and must not exist.
        volume: Grey, on the grid that `read_series(like)` gave.
        like: The source.
        profile: What is kept of the patient, see `apply_profile`.
        description: Series Description; under `keep-patient` the source's stands before it.
        derivation: Derivation Description.
        identity: What the volume was made by, such as a model's hash: another identity gives
            other UIDs, the same one the same.
        uids: Gives the new UIDs; default a new map, for `keep-patient` one without a secret, so
            that doing the same again gives the same UIDs.
        pseudonym: Name and ID of the patient under `basic`; default none.

    Returns:
        The files in order: one a slice, or one for an enhanced multi-frame source.

    Raises:
        UserError: The folder exists, cannot be written to, or the disk is full; a source file
            is gone, or has text burned into its pixels under `basic`.
        ValueError: The volume is in colour or on another grid.
    """
    require_pydicom()
    stack = stack_series(like)
    if volume.array.ndim != 3:
        raise ValueError("a derived series is grey, (X, Y, Z)")
    if not stack.geometry.same_grid(volume.geometry):
        raise ValueError(f"the volume is not on the grid of {like.folder}")
    if uids is None:
        uids = UidMap(None if profile == "basic" else b"medstyle_gan")
    pixels = store_pixels(volume.array, volume.integer)
    names = []
    with atomic_folder(folder) as temporary:
        purpose = hashlib.sha256(f"{identity}\0{description}".encode()).hexdigest()
        for index, (source, slices) in enumerate(_sources(stack.slices), start=1):
            _refuse_burned_in(source, slices[0][1].file, profile)
            apply_profile(source, profile, uids, pseudonym)
            before = source.get("SeriesDescription", "") if profile == "keep-patient" else ""
            source.SeriesDescription = f"{before} {description}".strip()[-_TEXT:]
            source.SeriesInstanceUID = uids(like.uid, f"{purpose} series")
            source.SOPInstanceUID = uids(slices[0][1].instance, f"{purpose} instance")
            _say_derived(source, derivation)
            _place_pixels(source, pixels, [number for number, _ in slices], slices)
            if profile == "keep-patient":
                source.SourceImageSequence = [_reference(source, slices[0][1].instance)]
            source.InstanceNumber = index
            names.append(f"{'frames' if len(slices) > 1 else 'slice'}_{index:04d}.dcm")
            _save(source, temporary / names[-1])
    return [Path(folder) / name for name in names]


def is_derived_series(folder: Path) -> bool:
    """Whether a folder holds nothing but what `write_derived_series` writes."""
    return folder.is_dir() and all(_FILE.fullmatch(file.name) for file in folder.iterdir())


def _sources(slices: tuple[Slice, ...]) -> Iterator[tuple[Any, list[tuple[int, Slice]]]]:
    """Each source file's whole header, with the slices that are to stand in it, in order."""
    pydicom = require_pydicom()
    files: dict[Path, list[tuple[int, Slice]]] = {}
    for number, one in enumerate(slices):
        files.setdefault(one.file, []).append((number, one))
    for file, members in files.items():
        try:
            dataset = pydicom.dcmread(file, stop_before_pixels=True)
        except Exception as error:
            raise UserError(f"{file}: cannot be read any more ({error}); try again") from error
        yield dataset, members


def _refuse_burned_in(source: Dataset, file: Path, profile: Profile) -> None:
    if profile == "basic" and source.get("BurnedInAnnotation") == "YES":
        raise UserError(
            f"{file}: BurnedInAnnotation is YES: its pixels show text, which may name the patient "
            "and no profile can remove; blacken it first, or use --deidentify keep-patient"
        )


def _say_derived(source: Dataset, derivation: str) -> None:
    kinds = [str(kind) for kind in source.get("ImageType") or []]
    source.ImageType = ["DERIVED", "SECONDARY", *kinds[2:]]
    source.DerivationDescription = derivation
    # A slice as a scanner makes it has no text in it; of what else we cannot tell, we do not.
    if "BurnedInAnnotation" not in source and kinds[:2] in (
        ["ORIGINAL", "PRIMARY"],
        ["DERIVED", "PRIMARY"],
    ):
        source.BurnedInAnnotation = "NO"
    if source.get("SeriesNumber") is not None:
        source.SeriesNumber = int(source.SeriesNumber) + _DERIVED_NUMBER
    equipment = _item()
    equipment.PurposeOfReferenceCodeSequence = [code_item("109103", "DCM", "Modifying Equipment")]
    equipment.Manufacturer = equipment.ManufacturerModelName = "medstyle_gan"
    source.ContributingEquipmentSequence = [
        *(source.get("ContributingEquipmentSequence") or []),
        equipment,
    ]


def _item() -> Dataset:
    return require_pydicom().Dataset()


def _reference(source: Dataset, instance: str) -> Dataset:
    item = _item()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = source.SOPClassUID, instance
    return item


def _place_pixels(
    source: Dataset, pixels: StoredPixels, numbers: list[int], slices: list[tuple[int, Slice]]
) -> None:
    unit = slices[0][1].rescale_type or ("HU" if source.get("Modality") == "CT" else "US")
    for keyword in _OF_THE_SOURCE:
        if keyword in source:
            del source[keyword]
    source.SamplesPerPixel, source.PhotometricInterpretation = 1, "MONOCHROME2"
    source.BitsAllocated, source.BitsStored, source.HighBit = 16, 16, 15
    source.PixelRepresentation = 1
    if "PerFrameFunctionalGroupsSequence" in source:
        _place_in_groups(source, pixels, unit, [one.frame for _, one in slices])
    else:
        _scale(source, pixels, unit)
        _window(source, pixels)
    planes = pixels.planes[numbers]  # (slices, rows, columns)
    source.PixelData = np.ascontiguousarray(planes, dtype="<i2").tobytes()
    source["PixelData"].VR = "OW"


def _place_in_groups(source: Dataset, pixels: StoredPixels, unit: str, frames: list[int]) -> None:
    groups = source.PerFrameFunctionalGroupsSequence
    source.PerFrameFunctionalGroupsSequence = [groups[frame] for frame in frames]
    source.NumberOfFrames = len(frames)
    shared = (source.get("SharedFunctionalGroupsSequence") or [_item()])[:1]
    for group in (*source.PerFrameFunctionalGroupsSequence, *shared):
        for element in list(group):
            if element.keyword in _FRAME_OF_THE_SOURCE:
                del group[element.tag]
            elif element.keyword.endswith("FrameTypeSequence"):
                for item in element.value:
                    kinds = [str(kind) for kind in item.get("FrameType") or []]
                    item.FrameType = ["DERIVED", "SECONDARY", *kinds[2:]]
    scaling, window = _item(), _item()
    _scale(scaling, pixels, unit)
    _window(window, pixels)
    shared[0].PixelValueTransformationSequence = [scaling]
    shared[0].FrameVOILUTSequence = [window]
    source.SharedFunctionalGroupsSequence = shared


def _scale(holder: Dataset, pixels: StoredPixels, unit: str) -> None:
    holder.RescaleSlope, holder.RescaleIntercept = pixels.slope, pixels.intercept
    holder.RescaleType = unit


def _window(holder: Dataset, pixels: StoredPixels) -> None:
    holder.WindowCenter, holder.WindowWidth = pixels.window


def _save(dataset: Any, path: Path) -> None:
    pydicom = require_pydicom()
    set_file_meta(dataset, pydicom.uid.ExplicitVRLittleEndian)
    for _ in dataset.iterall():  # decodes all values, so that they can change their byte order
        pass
    with path.open("xb") as file:
        pydicom.dcmwrite(
            file, dataset, implicit_vr=False, little_endian=True, enforce_file_format=True
        )
