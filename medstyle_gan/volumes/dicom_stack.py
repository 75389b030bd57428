"""Slices of a series in order, and the grid that they make; what makes none is refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import atan, degrees

import numpy as np

from medstyle_gan.errors import UserError
from medstyle_gan.volumes.dicom_files import DicomSeries
from medstyle_gan.volumes.dicom_slices import Slice, slices_of
from medstyle_gan.volumes.geometry import Geometry, LpsFrame
from medstyle_gan.volumes.lps_geometry import geometry_from_lps

_UNIT = 1e-3  # how far direction cosines may be from unit length, right angles and each other
_SAME_PLACE = 1e-3  # millimetres; positions are written with three decimals or more
_OFF_AXIS = 0.1  # pixels that a slice may lie beside the axis of the stack
_UNEVEN = 0.02  # of the usual distance; positions are often rounded to 0.01 mm
_ROUNDING = 0.02  # millimetres


@dataclass(frozen=True, eq=False)
class Stack:
    """A series in order.

    Attributes:
        slices: By position along the normal, as they follow each other along Z.
        geometry: (columns, rows, slices) and where they lie.
    """

    slices: tuple[Slice, ...]
    geometry: Geometry

    @property
    def dtype(self) -> np.dtype:
        """Type of the stored pixels."""
        return self.slices[0].dtype

    @property
    def integer(self) -> bool:
        """Whether native values are whole numbers."""
        numbers = {s.slope for s in self.slices} | {s.intercept for s in self.slices}
        return all(number.is_integer() for number in numbers)


def stack_series(series: DicomSeries) -> Stack:
    """Puts a series' slices in order.

    They are sorted by their position along the normal, not by instance number, which may count
    anything.

    Raises:
        UserError: The series is no single, straight, evenly spaced stack of one patient: the
            message names the field, the files and what to do.
    """
    if series.fault:
        raise UserError(series.fault)
    slices = [
        one
        for header, file in zip(series.headers, series.files, strict=True)
        for one in slices_of(header, file)
    ]
    _refuse_mixtures(slices, series)
    row, column, normal = _axes(slices[0])
    _refuse_turned(slices, series)
    heights = np.array([one.position @ normal for one in slices])
    order = np.argsort(heights, kind="stable")
    slices = [slices[index] for index in order]
    distance = _distance(slices, heights[order], normal, series)
    first = slices[0]
    shape = (int(first.shared["Columns"]), int(first.shared["Rows"]), len(slices))
    frame = LpsFrame(
        spacing=np.array([first.pixel_spacing[1], first.pixel_spacing[0], distance]),
        origin=first.position,
        direction=np.stack([row, column, normal], axis=1),
    )
    return Stack(tuple(slices), geometry_from_lps(shape, frame, series.folder))


def _axes(first: Slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    row, column = first.orientation[:3], first.orientation[3:]
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if max(abs(length - 1) for length in lengths) > _UNIT or abs(row @ column) > _UNIT:
        raise UserError(
            f"{first.file}: ImageOrientationPatient is {first.orientation.tolist()}, which are no "
            "two unit vectors at a right angle; export the series again"
        )
    # Made exactly orthonormal: headers round the cosines to a few decimals.
    row = row / np.linalg.norm(row)
    normal = np.cross(row, column)
    normal = normal / np.linalg.norm(normal)
    return row, np.cross(normal, row), normal


def _refuse_mixtures(slices: Sequence[Slice], series: DicomSeries) -> None:
    first = slices[0]
    for keyword, value in first.shared.items():
        other = next((one for one in slices if one.shared[keyword] != value), None)
        if other is None:
            continue
        what, mend = f"several volumes ({keyword} differs)", "keep one volume a series"
        if keyword in ("PatientID", "PatientName"):  # not their values: a log may be sent on
            what, mend = f"two patients ({keyword} differs)", "separate the patients' files"
        raise UserError(
            f"{series.folder}: {series.label} mixes {what} between {first.file.name} and "
            f"{other.file.name}; {mend}"
        )
    echoes = sorted({round(one.echo_time, 2) for one in slices if one.echo_time is not None})
    if len(echoes) > 1:
        raise UserError(
            f"{series.folder}: {series.label} mixes {len(echoes)} echo times (EchoTime "
            f"{', '.join(f'{echo:g}' for echo in echoes[:4])} ms); give each echo a folder and a "
            "series of its own"
        )


def _refuse_turned(slices: Sequence[Slice], series: DicomSeries) -> None:
    first = slices[0]
    for one in slices:
        if np.abs(one.orientation - first.orientation).max() > _UNIT:
            raise UserError(
                f"{series.folder}: {series.label} has slices in different directions "
                f"(ImageOrientationPatient differs between {first.file.name} and {one.file.name}), "
                "as a localizer has; leave it out, or split it"
            )
        if np.abs(np.subtract(one.pixel_spacing, first.pixel_spacing)).max() > _SAME_PLACE:
            raise UserError(
                f"{series.folder}: {series.label} has PixelSpacing "
                f"{first.pixel_spacing} in {first.file.name} and {one.pixel_spacing} in "
                f"{one.file.name}; split it by pixel spacing"
            )


def _distance(
    slices: Sequence[Slice], heights: np.ndarray, normal: np.ndarray, series: DicomSeries
) -> float:
    """Millimetres between neighbouring slices, all alike."""
    first = slices[0]
    if len(slices) == 1:
        if not first.thickness:
            raise UserError(
                f"{first.file}: is the only slice of its series and has neither SliceThickness nor "
                "SpacingBetweenSlices; add one of them"
            )
        return abs(first.thickness)
    gaps = np.diff(heights)
    same = np.flatnonzero(gaps < _SAME_PLACE)
    if same.size:
        one, other = slices[same[0]], slices[same[0] + 1]
        why = "the same instance twice: remove one of both files"
        if one.instance != other.instance or one.file == other.file:
            why = "several time points, echoes or reconstructions: give each a series of its own"
        raise UserError(
            f"{series.folder}: {series.label} has {same.size + 1} slices too many at one "
            f"place (ImagePositionPatient of {_name(one)} and {_name(other)} is the same); it may "
            f"hold {why}"
        )
    usual = float(np.median(gaps))
    off = np.abs(gaps - usual)
    if off.max() > max(_UNEVEN * usual, _ROUNDING):
        worst = int(off.argmax())
        between = f"{_name(slices[worst])} and {_name(slices[worst + 1])}"
        missing = round(float(gaps[worst] / usual)) - 1
        what = f"{missing} missing" if missing > 0 else "the distances differ"
        raise UserError(
            f"{series.folder}: {series.label} is unevenly spaced: {gaps[worst]:.2f} mm "
            f"between {between} (ImagePositionPatient), {usual:.2f} mm elsewhere: {what}; export "
            "the series again in full"
        )
    aside = np.array([one.position - first.position for one in slices])
    aside -= np.outer(aside @ normal, normal)
    off_axis = float(np.linalg.norm(aside, axis=1).max())
    if off_axis > _OFF_AXIS * min(first.pixel_spacing):
        angle = degrees(atan(off_axis / float(heights[-1] - heights[0])))
        raise UserError(
            f"{series.folder}: {series.label} is tilted: its slices are stacked {angle:.1f}° "
            "off their normal (ImagePositionPatient against ImageOrientationPatient), as a tilted "
            "gantry makes them; resample it to straight slices first, for instance with dcm2niix"
        )
    return float(heights[-1] - heights[0]) / (len(slices) - 1)


def _name(one: Slice) -> str:
    return f"{one.file.name} (frame {one.frame + 1})" if one.frame else one.file.name
