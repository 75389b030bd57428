"""DICOM series of known voxels, made by pydicom, one field at a time as wrong as need be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    MRImageStorage,
    generate_uid,
)
from scipy.spatial.transform import Rotation

TURN = Rotation.from_euler("xyz", [10, -20, 30], degrees=True).as_matrix()
SPACING = (0.5, 0.75, 3.0)  # along X (columns), Y (rows), Z (slices)
ORIGIN = np.array([-70.5, 40.25, -12.125])
CANARY = "CANARY^PATIENT"
SERIES, STUDY, FRAME = (generate_uid(entropy_srcs=[name]) for name in ("series", "study", "frame"))

Edit = Callable[[Dataset, int], None]


def header(modality: str = "MR", **fields: object) -> Dataset:
    """What every object here has: a patient, a study, a series."""
    dataset = Dataset()
    dataset.SOPClassUID = MRImageStorage if modality == "MR" else CTImageStorage
    dataset.PatientName, dataset.PatientID = CANARY, f"ID-{CANARY}"
    dataset.PatientBirthDate, dataset.PatientSex, dataset.PatientAge = "19700102", "F", "055Y"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = STUDY, SERIES
    dataset.FrameOfReferenceUID = FRAME
    dataset.StudyDate = dataset.SeriesDate = dataset.AcquisitionDate = "20240203"
    dataset.StudyTime, dataset.StudyID, dataset.AccessionNumber = "101112", "S1", "A-CANARY"
    dataset.ReferringPhysicianName = dataset.InstitutionName = CANARY
    dataset.StudyDescription = dataset.SeriesDescription = f"head {CANARY}"
    dataset.Modality, dataset.SeriesNumber = modality, 3
    dataset.Manufacturer, dataset.ManufacturerModelName = "Maker", "Model"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.BodyPartExamined, dataset.KVP, dataset.EchoTime = "HEAD", "120", "12.5"
    private = dataset.private_block(0x0019, "MAKER", create=True)
    private.add_new(0x01, "LO", CANARY)
    for keyword, value in fields.items():
        setattr(dataset, keyword, value)
    return dataset


def save(dataset: Dataset, path: Path, syntax: str = ExplicitVRLittleEndian) -> None:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta, dataset.preamble = meta, bytes(128)
    if syntax != ExplicitVRLittleEndian:
        dataset.compress(syntax, generate_instance_uid=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)


def place_pixels(dataset: Dataset, planes: np.ndarray) -> None:
    """Stored pixels, (rows, columns) or (frames, rows, columns)."""
    dataset.Rows, dataset.Columns = planes.shape[-2:]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = planes.dtype.itemsize * 8
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(planes.dtype.kind == "i")
    dataset.PixelData = planes.tobytes()
    dataset["PixelData"].VR = "OB" if planes.dtype.itemsize == 1 else "OW"


def write_series(
    folder: Path,
    array: np.ndarray,
    modality: str = "MR",
    direction: np.ndarray = TURN,
    edit: Edit | None = None,
    syntax: str = ExplicitVRLittleEndian,
    slope: float | None = None,
    intercept: float = 0,
    name: str = "IM{:03d}",
    series: str = SERIES,
) -> Path:
    """Writes (X, Y, Z) stored values as one file a slice, in an order unlike their position.

    The axes of the array lie along the columns of `direction`, from `ORIGIN`, LPS+.
    """
    order = np.random.default_rng(5).permutation(array.shape[2])
    for number, z in enumerate(order):
        dataset = header(modality, SeriesInstanceUID=series)
        dataset.SOPInstanceUID = generate_uid(entropy_srcs=[series, str(z)])
        dataset.InstanceNumber = number + 1  # says nothing about the position
        dataset.ImageOrientationPatient = [f"{v:.12g}" for v in direction[:, :2].T.ravel()]
        position = ORIGIN + direction[:, 2] * SPACING[2] * z
        dataset.ImagePositionPatient = [f"{v:.12g}" for v in position]
        dataset.PixelSpacing = [SPACING[1], SPACING[0]]
        dataset.SliceThickness = SPACING[2]
        if slope is not None:
            dataset.RescaleSlope, dataset.RescaleIntercept = slope, intercept
        place_pixels(dataset, np.ascontiguousarray(array[:, :, z].T))
        if edit is not None:
            edit(dataset, int(z))
        save(dataset, folder / name.format(number), syntax)
    return folder


def write_enhanced(
    path: Path,
    array: np.ndarray,
    modality: str = "MR",
    direction: np.ndarray = TURN,
    shared_scaling: bool = True,
    edit: Edit | None = None,
    syntax: str = ExplicitVRLittleEndian,
) -> Path:
    """Writes (X, Y, Z) as one enhanced multi-frame file, frames in an order of their own."""
    order = np.random.default_rng(6).permutation(array.shape[2])
    dataset = header(modality)
    dataset.SOPClassUID = EnhancedMRImageStorage if modality == "MR" else EnhancedCTImageStorage
    dataset.SOPInstanceUID = generate_uid(entropy_srcs=["enhanced"])
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    dataset.AcquisitionDateTime = "20240203101112"
    dataset.ContentDate, dataset.ContentTime, dataset.InstanceNumber = "20240203", "1011", 1
    dataset.NumberOfFrames = len(order)
    measures, orientation, scaling, shared = Dataset(), Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [SPACING[1], SPACING[0]], SPACING[2]
    measures.SpacingBetweenSlices = SPACING[2]
    orientation.ImageOrientationPatient = [f"{v:.12g}" for v in direction[:, :2].T.ravel()]
    scaling.RescaleSlope, scaling.RescaleIntercept, scaling.RescaleType = 2, -100, "US"
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [orientation]
    if shared_scaling:
        shared.PixelValueTransformationSequence = [scaling]
    dataset.SharedFunctionalGroupsSequence = [shared]
    groups = []
    for frame, z in enumerate(order):
        group, position, content, kind = Dataset(), Dataset(), Dataset(), Dataset()
        place = ORIGIN + direction[:, 2] * SPACING[2] * z
        position.ImagePositionPatient = [f"{v:.12g}" for v in place]
        group.PlanePositionSequence = [position]
        content.FrameAcquisitionDateTime = "20240203101112"
        content.StackID, content.InStackPositionNumber = "1", int(z) + 1
        content.DimensionIndexValues, content.FrameComments = [1, int(z) + 1], CANARY
        group.FrameContentSequence = [content]
        kind.FrameType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
        if modality == "MR":
            group.MRImageFrameTypeSequence = [kind]
        else:
            group.CTImageFrameTypeSequence = [kind]
        if not shared_scaling:
            own = Dataset()
            own.RescaleSlope, own.RescaleIntercept, own.RescaleType = 1 + frame / 4, -100, "US"
            group.PixelValueTransformationSequence = [own]
        groups.append(group)
    dataset.PerFrameFunctionalGroupsSequence = groups
    place_pixels(dataset, np.ascontiguousarray(array[:, :, order].transpose(2, 1, 0)))
    if edit is not None:
        edit(dataset, 0)
    save(dataset, path, syntax)
    return path
