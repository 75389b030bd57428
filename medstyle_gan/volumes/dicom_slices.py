"""What a DICOM header says of each slice, be it a file of its own or a frame among others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medstyle_gan.errors import UserError

if TYPE_CHECKING:
    from pydicom import Dataset

# All that reading and sorting needs; the rest of a header is read where it is written again.
HEADER_TAGS = (
    *("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "Modality"),
    *("PatientID", "PatientName", "SeriesNumber", "SeriesDescription", "FrameOfReferenceUID"),
    *("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelSpacing"),
    *("ImagePositionPatient", "ImageOrientationPatient", "SliceThickness", "EchoTime"),
    *("SpacingBetweenSlices", "RescaleSlope", "RescaleIntercept", "RescaleType"),
    *("ModalityLUTSequence", "SharedFunctionalGroupsSequence"),
    "PerFrameFunctionalGroupsSequence",
)


@dataclass(frozen=True, eq=False)
class Slice:
    """One slice of a series, with the fields that must agree over all of them.

    Attributes:
        file: Where its pixels are.
        frame: Which frame of that file.
        position: (3,) place of the first pixel, millimetres, LPS+.
        orientation: (6,) unit vectors along a row and along a column.
        pixel_spacing: Distance of the rows and of the columns, millimetres.
        thickness: Distance of neighbouring slices where the header names one, else None.
        slope: Native value = slope * stored value + intercept.
        intercept: See `slope`.
        rescale_type: Unit of the native values, such as "HU"; empty where the header has none.
        echo_time: Milliseconds; None where there is none.
        instance: SOP Instance UID of the file.
        packed: Whether the file's pixels are compressed, so that its size says little.
        shared: Fields that all slices of a series have in common, by keyword.
    """

    file: Path
    frame: int
    position: np.ndarray
    orientation: np.ndarray
    pixel_spacing: tuple[float, float]
    thickness: float | None
    slope: float
    intercept: float
    rescale_type: str
    echo_time: float | None
    instance: str
    packed: bool
    shared: dict[str, Any]

    @property
    def dtype(self) -> np.dtype:
        """Type of the stored pixels."""
        kind = "i" if self.shared["PixelRepresentation"] else "u"
        return np.dtype(f"{kind}{self.shared['BitsAllocated'] // 8}")


# Two patients in one series is told before any other difference.
_SHARED = (
    *("PatientID", "PatientName", "StudyInstanceUID", "FrameOfReferenceUID", "Modality"),
    *("SOPClassUID", "Rows", "Columns", "PixelRepresentation", "BitsAllocated", "BitsStored"),
    "PhotometricInterpretation",
)


def slices_of(header: Dataset, file: Path) -> list[Slice]:
    """The slices that a file holds.

    Args:
        header: `HEADER_TAGS` of the file.
        file: The file.

    Raises:
        UserError: A field is missing or cannot be used; names it.
    """
    _refuse_kinds(header, file)
    shared = {keyword: header.get(keyword) for keyword in _SHARED}
    for keyword in ("Rows", "Columns", "BitsAllocated"):
        if not shared[keyword]:
            raise UserError(f"{file}: has no {keyword}; export the series again")
    frames = int(header.get("NumberOfFrames") or 1)
    if "PerFrameFunctionalGroupsSequence" not in header:
        if frames != 1:
            raise UserError(
                f"{file}: NumberOfFrames is {frames} without functional groups, so nothing says "
                "where each frame lies; export it as enhanced MR/CT or as one file a slice"
            )
        return [_slice([header], 0, header, file, shared)]
    common = list(header.get("SharedFunctionalGroupsSequence") or [])
    macros = [macro for group in common for macro in _macros(group)]
    each = header.PerFrameFunctionalGroupsSequence
    if len(each) != frames:
        raise UserError(
            f"{file}: NumberOfFrames is {frames}, but PerFrameFunctionalGroupsSequence has "
            f"{len(each)} items; export the series again"
        )
    return [
        _slice([*_macros(group), *macros, header], number, header, file, shared)
        for number, group in enumerate(each)
    ]


def _macros(group: Dataset) -> Iterator[Dataset]:
    """The items of the macros that reading needs, of one functional group."""
    for keyword in (
        *("PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence"),
        *("PixelValueTransformationSequence", "MREchoSequence"),
    ):
        yield from (group.get(keyword) or [])[:1]


def _slice(
    sources: list[Dataset], frame: int, header: Dataset, file: Path, shared: dict[str, Any]
) -> Slice:
    def numbers(keyword: str, count: int) -> np.ndarray | None:
        for source in sources:
            value = source.get(keyword)
            if value is None or value == "":
                continue
            try:
                array = np.array(value, dtype=np.float64).reshape(-1)
            except (TypeError, ValueError):
                array = np.array([np.nan])
            if array.size != count or not np.isfinite(array).all():
                raise UserError(
                    f"{file}: {keyword} is {value}, where {count} numbers are needed; "
                    "export the series again"
                )
            return array
        return None

    def number(keyword: str) -> float | None:
        array = numbers(keyword, 1)
        return None if array is None else float(array[0])

    def needed(keyword: str, count: int) -> np.ndarray:
        array = numbers(keyword, count)
        if array is None:
            where = f" (frame {frame + 1})" if len(sources) > 1 else ""
            raise UserError(
                f"{file}: has no {keyword}{where}, so nothing says where the slice lies; only "
                "series of slices with a position, such as CT, MR and PET, are volumes"
            )
        return array

    spacing = needed("PixelSpacing", 2)
    if spacing.min() <= 0:
        raise UserError(f"{file}: PixelSpacing is {spacing.tolist()}; both must be above 0")
    syntax = header.file_meta.get("TransferSyntaxUID")
    slope = number("RescaleSlope")
    echo = number("EffectiveEchoTime")
    return Slice(
        file=file,
        frame=frame,
        position=needed("ImagePositionPatient", 3),
        orientation=needed("ImageOrientationPatient", 6),
        pixel_spacing=(float(spacing[0]), float(spacing[1])),
        thickness=number("SpacingBetweenSlices") or number("SliceThickness"),
        slope=1.0 if slope in (None, 0.0) else float(slope),
        intercept=number("RescaleIntercept") or 0.0,
        rescale_type=str(next((s.RescaleType for s in sources if s.get("RescaleType")), "")),
        echo_time=number("EchoTime") if echo is None else echo,
        instance=str(header.get("SOPInstanceUID", "")),
        packed=syntax is not None and (syntax.is_compressed or syntax.is_deflated),
        shared=shared,
    )


def _refuse_kinds(header: Dataset, file: Path) -> None:
    samples = int(header.get("SamplesPerPixel") or 1)
    photometric = str(header.get("PhotometricInterpretation") or "MONOCHROME2")
    if samples != 1 or not photometric.startswith("MONOCHROME"):
        raise UserError(
            f"{file}: SamplesPerPixel is {samples} and PhotometricInterpretation {photometric}; "
            "give one grey channel (MONOCHROME2); colour comes as PNG or JPEG pictures"
        )
    if "ModalityLUTSequence" in header:
        raise UserError(
            f"{file}: ModalityLUTSequence maps the pixels by a table; export the series with "
            "RescaleSlope and RescaleIntercept instead"
        )
    bits = [header.get(key) for key in ("BitsAllocated", "BitsStored", "HighBit")]
    if bits[0] not in (8, 16, 32):
        raise UserError(f"{file}: BitsAllocated is {bits[0]}; 8, 16 and 32 can be read")
    if None not in bits and bits[2] != bits[1] - 1:
        raise UserError(
            f"{file}: HighBit is {bits[2]} with BitsStored {bits[1]}; export the series with "
            f"HighBit {bits[1] - 1}"
        )
    if photometric == "MONOCHROME1" and (
        header.get("Modality") in ("CT", "PT") or header.get("RescaleType") == "HU"
    ):
        raise UserError(
            f"{file}: PhotometricInterpretation is MONOCHROME1 (low is bright) for values with a "
            "unit, so it is unclear which of both is meant; export the series as MONOCHROME2"
        )
