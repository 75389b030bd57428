"""Which DICOM attributes survive: the profiles `basic` and `keep-patient` as tables of actions.

`basic` is the Basic Application Level Confidentiality Profile of DICOM PS3.15, Annex E, made
stricter: the standard lists what has to go, and lists grow with every edition; here only what is
listed or cannot hold text stays.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from medstyle_gan.volumes.dicom_uids import UidMap

if TYPE_CHECKING:
    from pydicom import DataElement, Dataset

Profile = Literal["basic", "keep-patient"]
PROFILES: tuple[Profile, ...] = ("basic", "keep-patient")

# PS3.15's codes: K keep, X remove, Z empty, D replace by a dummy, U a new UID, C clean inside.
# Where the standard leaves a choice (X/Z/D) by what an object must have, "Z or D" is D for
# enhanced multi-frame objects, which must have a value, and Z or X else.
_BASIC: dict[str, str] = {
    # Patient and study: an object must have these, empty ones will do.
    "PatientName": "Z",
    "PatientID": "Z",
    "PatientBirthDate": "Z",
    "PatientSex": "Z",
    "StudyDate": "Z",
    "StudyTime": "Z",
    "StudyID": "Z",
    "AccessionNumber": "Z",
    "ReferringPhysicianName": "Z",
    "ContentDate": "Z/D",
    "ContentTime": "Z/D",
    "AcquisitionDateTime": "X/D",
    "AcquisitionContextSequence": "X/Z",
    "DeviceSerialNumber": "X/D",
    "FrameAcquisitionDateTime": "D",
    "FrameReferenceDateTime": "D",
    # Text that describes the machine's method, chosen from what its maker offers.
    "SpecificCharacterSet": "K",
    "Manufacturer": "K",
    "ManufacturerModelName": "K",
    "SoftwareVersions": "K",
    "SequenceName": "K",
    "PulseSequenceName": "K",
    "ImagedNucleus": "K",
    "ReceiveCoilName": "K",
    "TransmitCoilName": "K",
    "ConvolutionKernel": "K",
    "FilterType": "K",
    "Radiopharmaceutical": "K",
    "StackID": "K",
    "RescaleType": "K",
    # Kinds of objects, not objects: private ones are not the standard's own UIDs.
    "SOPClassUID": "K",
    "ReferencedSOPClassUID": "K",
    # The pixels themselves, and tables for them.
    "PixelData": "K",
    "FloatPixelData": "K",
    "DoubleFloatPixelData": "K",
    "LUTData": "K",
    "RedPaletteColorLookupTableData": "K",
    "GreenPaletteColorLookupTableData": "K",
    "BluePaletteColorLookupTableData": "K",
    # Sequences; all others are removed.
    "SharedFunctionalGroupsSequence": "C",
    "PerFrameFunctionalGroupsSequence": "C",
    "DimensionOrganizationSequence": "C",
    "DimensionIndexSequence": "C",
    "AnatomicRegionSequence": "C",
    "ModalityLUTSequence": "C",
    "VOILUTSequence": "C",
    "RadiopharmaceuticalInformationSequence": "C",
    "EnergyWindowInformationSequence": "C",
    "EnergyWindowRangeSequence": "C",
    "DetectorInformationSequence": "C",
    "PatientOrientationCodeSequence": "C",
    "PatientGantryRelationshipCodeSequence": "C",
}
# Removed under either profile: of another picture than the one written, or signed for it.
_NEVER = frozenset(
    [
        *("IconImageSequence", "DigitalSignaturesSequence", "MACParametersSequence"),
        *("OriginalAttributesSequence", "DataSetTrailingPadding"),
    ]
)
# Groups whose numbers and codes describe the acquisition and the pixels, not the patient.
_TECHNICAL_GROUPS = frozenset([0x0002, 0x0008, 0x0018, 0x0020, 0x0028, 0x0054, 0x5200, 0x7FE0])
_NO_TEXT = frozenset(
    ["AT", "CS", "DS", "FD", "FL", "IS", "SL", "SS", "SV", "UL", "US", "UV", "US or SS"]
)
# Codes of public schemes are words that everyone uses.
_PUBLIC_SCHEMES = frozenset(["DCM", "SCT", "SRT", "99SDM", "UCUM", "RADLEX", "LN", "FMA", "NCIt"])
_CODE_WORDS = frozenset(["CodeValue", "CodingSchemeDesignator", "CodeMeaning"])
_DUMMIES = {"DA": "19000101", "TM": "000000", "DT": "19000101000000"}
_METHOD = "medstyle_gan: DICOM PS3.15 Annex E Basic Profile"


def apply_profile(
    dataset: Dataset, profile: Profile, uids: UidMap, pseudonym: str | None = None
) -> None:
    """Removes, empties and replaces what a profile says, in place.

    Private attributes, overlays and curves go under either profile.

    Args:
        dataset: A whole object, with or without its pixels.
        profile: `basic` removes all that could tell who the patient is or when and where the
            scan was made; `keep-patient` keeps what describes patient and study.
        uids: Gives the new UIDs of `basic`; `keep-patient` changes none.
        pseudonym: Name and ID of the patient under `basic`; default none.
    """
    enhanced = "PerFrameFunctionalGroupsSequence" in dataset
    if profile == "keep-patient":
        _remove(dataset, lambda element: _is_foreign(element))
        if dataset.get("PatientIdentityRemoved") != "YES":
            dataset.PatientIdentityRemoved = "NO"
        return
    _clean(dataset, uids, enhanced, inside_groups=False)
    if pseudonym is not None:
        dataset.PatientName = dataset.PatientID = pseudonym
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = _METHOD
    dataset.DeidentificationMethodCodeSequence = [
        code_item("113100", "DCM", "Basic Application Confidentiality Profile")
    ]
    dataset.LongitudinalTemporalInformationModified = "REMOVED"


def code_item(value: str, scheme: str, meaning: str) -> Dataset:
    """An item of a code sequence."""
    from pydicom import Dataset

    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def basic_action(element: DataElement, enhanced: bool, inside_groups: bool = False) -> str:
    """The one action of the basic profile for an attribute: K, X, Z, D, U or C.

    Args:
        element: The attribute.
        enhanced: Whether its object is an enhanced multi-frame one.
        inside_groups: Whether it stands in a functional group.
    """
    if _is_foreign(element):
        return "X"
    action = _BASIC.get(element.keyword)
    if action is not None:
        first, _, second = action.partition("/")
        return second if second and enhanced else first
    if element.tag.group not in _TECHNICAL_GROUPS:
        return "X"
    if element.VR == "UI":
        return "U"
    if element.VR == "SQ":
        return "C" if inside_groups else "X"
    return "K" if element.VR in _NO_TEXT else "X"


def _clean(dataset: Dataset, uids: UidMap, enhanced: bool, inside_groups: bool) -> None:
    public = dataset.get("CodingSchemeDesignator") in _PUBLIC_SCHEMES
    for element in list(dataset):
        if public and element.keyword in _CODE_WORDS:
            continue
        action = basic_action(element, enhanced, inside_groups)
        if action == "X":
            del dataset[element.tag]
        elif action == "Z":
            element.value = [] if element.VR == "SQ" else ""
        elif action == "D":
            element.value = _DUMMIES.get(element.VR, "REMOVED")
        elif action == "U":
            element.value = _new_uids(element.value, uids)
        elif action == "C":
            inside = inside_groups or "FunctionalGroups" in element.keyword
            for item in element.value:
                _clean(item, uids, enhanced, inside)
            if not inside and not any(len(item) for item in element.value):
                del dataset[element.tag]


def _new_uids(value: object, uids: UidMap) -> object:
    if not value:
        return value
    if isinstance(value, str):
        return uids(value)
    return [uids(str(uid)) for uid in value]  # type: ignore[attr-defined]


def _remove(dataset: Dataset, unwanted: Callable[[DataElement], bool]) -> None:
    for element in list(dataset):
        if unwanted(element):
            del dataset[element.tag]
        elif element.VR == "SQ":
            for item in element.value:
                _remove(item, unwanted)


def _is_foreign(element: DataElement) -> bool:
    """Whether an attribute is private, an overlay, a curve, or of another picture."""
    group = element.tag.group
    return bool(
        element.tag.is_private
        or 0x5000 <= group < 0x5100
        or 0x6000 <= group < 0x6100
        or element.keyword in _NEVER
    )
