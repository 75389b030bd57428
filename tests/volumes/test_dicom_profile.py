"""The profiles against the standard's dictionary and table (PS3.15, Table E.1-1)."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.datadict import DicomDictionary, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.multival import MultiValue
from pydicom.uid import CTImageStorage, EnhancedMRImageStorage, generate_uid

from medstyle_gan.volumes import UidMap
from medstyle_gan.volumes.dicom_profile import apply_profile, basic_action, code_item

CANARY = "CANARY^PATIENT"


def words(text: str) -> list[str]:
    return text.split()


TEXT = {"PN", "LO", "SH", "ST", "LT", "UT", "UC", "UR", "AE"}
# What the profile leaves: words of makers for their methods, which E.1-1 does not name.
MACHINE = {
    *("SpecificCharacterSet", "Manufacturer", "ManufacturerModelName", "SoftwareVersions"),
    *("SequenceName", "PulseSequenceName", "ImagedNucleus", "ReceiveCoilName"),
    *("TransmitCoilName", "ConvolutionKernel", "FilterType", "Radiopharmaceutical", "StackID"),
    "RescaleType",
}
# E.1-1, edition 2024: attributes that are no text by their VR but tell of a person all the same.
NUMBERS_AND_CODES = words(
    """
PatientSex PatientSexNeutered PatientSize PatientWeight PatientAge PregnancyStatus SmokingStatus
PatientBirthDate PatientBirthTime LastMenstrualDate GPSVersionID GPSLatitudeRef GPSLatitude
GPSLongitudeRef GPSLongitude GPSAltitudeRef GPSAltitude GPSTimeStamp GPSDateStamp
InstanceOriginStatus EncapsulatedDocument MAC CertificateOfSigner CertifiedTimestamp StudyDate
SeriesDate AcquisitionDate ContentDate StudyTime SeriesTime AcquisitionTime ContentTime
AcquisitionDateTime InstanceCreationDate InstanceCreationTime InstanceCoercionDateTime
DateOfLastCalibration TimeOfLastCalibration DateOfSecondaryCapture TimeOfSecondaryCapture
ContrastBolusStartTime ContrastBolusStopTime RadiopharmaceuticalStartTime
RadiopharmaceuticalStopTime RadiopharmaceuticalStartDateTime StartAcquisitionDateTime
EndAcquisitionDateTime DecayCorrectionDateTime DateOfManufacture DateOfInstallation
ModifiedImageDate ModifiedImageTime
"""
)
SEQUENCES = words(
    """
ReferencedPatientSequence ReferencedStudySequence ReferencedImageSequence SourceImageSequence
RequestAttributesSequence OtherPatientIDsSequence OperatorIdentificationSequence
InstitutionCodeSequence AdmittingDiagnosesCodeSequence PatientPrimaryLanguageCodeSequence
PhysiciansOfRecordIdentificationSequence ReferencedPerformedProcedureStepSequence
OriginalAttributesSequence ModifiedAttributesSequence IconImageSequence
DigitalSignaturesSequence ContentSequence GraphicAnnotationSequence
ReferringPhysicianIdentificationSequence ActualHumanPerformersSequence
PersonIdentificationCodeSequence
"""
)
UIDS = words(
    """
StudyInstanceUID SeriesInstanceUID SOPInstanceUID FrameOfReferenceUID DeviceUID
IrradiationEventUID SynchronizationFrameOfReferenceUID InstanceCreatorUID AcquisitionUID
ConcatenationUID DimensionOrganizationUID PaletteColorLookupTableUID ManufacturerDeviceClassUID
"""
)


def everything(vrs: set[str], value: object) -> Dataset:
    """One attribute of each keyword that the standard has for these VRs."""
    dataset = Dataset()
    for tag, (vr, *_) in DicomDictionary.items():
        if vr in vrs and tag >> 16 not in (0x0000, 0x0002, 0x0004, 0xFFFE):
            dataset.add(DataElement(tag, vr, value))
    return dataset


def texts(dataset: Dataset) -> set[str]:
    """Keywords of all attributes, at any depth, whose value holds the canary."""
    elements = [element for element in dataset.iterall() if element.VR != "SQ"]
    return {element.keyword for element in elements if CANARY in str(element.value)}


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_no_text_of_the_whole_dictionary_survives_but_the_makers_words():
    dataset = everything(TEXT, CANARY)
    assert len(dataset) > 700
    apply_profile(dataset, "basic", UidMap())
    assert texts(dataset) <= MACHINE


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("holder", ["PerFrameFunctionalGroupsSequence", "AnatomicRegionSequence"])
def test_no_text_survives_inside_sequences_either(holder):
    dataset = Dataset()
    inner = everything(TEXT, CANARY)
    nested = everything(TEXT, CANARY)
    inner.ReferencedImageSequence = [nested]
    setattr(dataset, holder, [inner])
    apply_profile(dataset, "basic", UidMap())
    assert texts(dataset) <= MACHINE


def test_no_date_and_time_of_the_whole_dictionary_survives():
    for enhanced in (False, True):
        dataset = everything({"DA"}, "20240203")
        dataset.update(everything({"DT"}, "20240203101112"))
        dataset.update(everything({"TM"}, "101112"))
        dataset.update(everything({"AS"}, "055Y"))
        if enhanced:
            dataset.PerFrameFunctionalGroupsSequence = [everything({"DT"}, "20240203101112")]
        apply_profile(dataset, "basic", UidMap())
        left = {str(element.value) for element in dataset.iterall() if element.VR != "SQ"}
        assert not left & {"20240203", "20240203101112", "101112", "055Y"}


@pytest.mark.parametrize("keyword", NUMBERS_AND_CODES)
@pytest.mark.parametrize("enhanced", [False, True])
def test_what_the_standard_lists_without_being_text_goes(keyword, enhanced):
    tag = tag_for_keyword(keyword)
    element = DataElement(tag, DicomDictionary[tag][0], None)
    assert basic_action(element, enhanced) in ("X", "Z", "D")


@pytest.mark.parametrize("keyword", SEQUENCES)
def test_sequences_that_the_standard_removes_go(keyword):
    element = DataElement(tag_for_keyword(keyword), "SQ", [])
    assert basic_action(element, enhanced=False) == "X"


@pytest.mark.parametrize("keyword", UIDS)
def test_uids_that_the_standard_replaces_are_replaced_alike_everywhere(keyword):
    dataset = Dataset()
    old = generate_uid()
    setattr(dataset, keyword, old)
    group = Dataset()
    group.ReferencedSOPInstanceUID = old
    dataset.PerFrameFunctionalGroupsSequence = [group]
    apply_profile(dataset, "basic", UidMap())
    new = getattr(dataset, keyword)
    assert new.startswith("2.25.")
    assert new.is_valid
    assert dataset.PerFrameFunctionalGroupsSequence[0].ReferencedSOPInstanceUID == new


@pytest.mark.parametrize("profile", ["basic", "keep-patient"])
def test_private_attributes_overlays_and_curves_go_at_any_depth(profile):
    def private(dataset: Dataset) -> Dataset:
        dataset.private_block(0x0029, "MAKER", create=True).add_new(1, "LO", CANARY)
        return dataset

    dataset = private(Dataset())
    dataset.PerFrameFunctionalGroupsSequence = [private(Dataset())]
    dataset.add_new(0x60023000, "OW", b"12")
    dataset.add_new(0x50003000, "OW", b"12")
    dataset.DigitalSignaturesSequence = [Dataset()]
    dataset.OriginalAttributesSequence = [Dataset()]
    apply_profile(dataset, profile, UidMap())
    assert not [e for e in dataset.iterall() if e.tag.is_private]
    assert not [e for e in dataset if e.tag.group in (0x6002, 0x5000)]
    assert "DigitalSignaturesSequence" not in dataset
    assert "OriginalAttributesSequence" not in dataset


def test_what_places_and_scales_the_pixels_stays():
    dataset = Dataset()
    kept = {
        "SOPClassUID": CTImageStorage,
        "ImagePositionPatient": [1, 2, 3],
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "PixelSpacing": [0.5, 0.5],
        "RescaleSlope": 2,
        "RescaleType": "HU",
        "Rows": 4,
        "EchoTime": 12.5,
        "KVP": 120,
        "Modality": "CT",
        "PatientPosition": "HFS",
        "BodyPartExamined": "HEAD",
        "PixelData": b"12",
    }
    for keyword, value in kept.items():
        setattr(dataset, keyword, value)
    apply_profile(dataset, "basic", UidMap())
    for keyword, value in kept.items():
        left = getattr(dataset, keyword)
        assert (list(left) if isinstance(left, MultiValue) else left) == value


def test_codes_of_public_schemes_stay_and_local_ones_go():
    dataset = Dataset()
    dataset.AnatomicRegionSequence = [code_item("12738006", "SCT", "Brain")]
    dataset.PatientOrientationCodeSequence = [code_item(CANARY, "99LOCAL", CANARY)]
    apply_profile(dataset, "basic", UidMap())
    assert dataset.AnatomicRegionSequence[0].CodeMeaning == "Brain"
    assert "PatientOrientationCodeSequence" not in dataset


def test_a_pseudonym_takes_the_place_of_name_and_id():
    dataset = Dataset()
    dataset.PatientName, dataset.PatientID = CANARY, CANARY
    apply_profile(dataset, "basic", UidMap(), pseudonym="subject-0001")
    assert (dataset.PatientName, dataset.PatientID) == ("subject-0001", "subject-0001")


def test_a_patient_who_is_removed_already_is_not_said_to_be_there():
    dataset = Dataset()
    dataset.PatientIdentityRemoved = "YES"
    dataset.PatientName = "anonymous"
    apply_profile(dataset, "keep-patient", UidMap())
    assert dataset.PatientIdentityRemoved == "YES"
    assert dataset.PatientName == "anonymous"


def test_new_uids_need_the_key_and_keep_the_standards_own():
    old = generate_uid()
    assert UidMap(b"a")(old) == UidMap(b"a")(old) != UidMap(b"b")(old)
    assert UidMap()(old) != UidMap()(old)
    assert UidMap(b"a")(old, "x") != UidMap(b"a")(old)
    assert UidMap(b"a")(EnhancedMRImageStorage) == EnhancedMRImageStorage
    assert len({UidMap(b"a")(str(number)) for number in np.arange(1000)}) == 1000
    assert all(len(UidMap()(old)) <= 64 for _ in range(100))
