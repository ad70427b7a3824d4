"""The header of every companion of SEG and SR: which object it is, of which equipment, made when."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.coding import Code
from pydicom.uid import ExplicitVRLittleEndian

from dicom_node.headers.elements import text
from dicom_node.identifiers import derived_uid
from dicom_node.results.equipment import DEVICE_SERIAL_NUMBER, MANUFACTURER, contributing_equipment
from dicom_node.results.finding import ReadPart, ResultContext
from dicom_node.results.making import series_description, stamp
from dicom_node.results.stand_ins import Reference

__all__ = ["coded", "companion", "identified", "referenced_series", "sources_of"]


def companion(
    sop_class_uid: str,
    modality: str,
    series_number: int,
    kind: str,
    parts: Sequence[ReadPart],
    context: ResultContext,
) -> Dataset:
    """A data set with all that companions share: UIDs, series, equipment and dates; patient and study come when saved.

    `kind`: what the series is called, such as "capture"; the UIDs derive from it. `parts`: those that it is about.
    """
    source = parts[0].volume.source
    scope = kind.lower()
    dataset = identified(sop_class_uid, derived_uid(context.object_key, scope, "instance"))
    dataset.StudyInstanceUID = text(source, "StudyInstanceUID")
    dataset.SeriesInstanceUID = derived_uid(context.object_key, scope, "series")
    dataset.Modality, dataset.SeriesNumber, dataset.InstanceNumber = modality, series_number, 1
    dataset.SeriesDescription = series_description(kind, context, parts)
    dataset.ManufacturerModelName, dataset.SoftwareVersions = context.algorithm_name, context.algorithm_version
    dataset.ContributingEquipmentSequence = contributing_equipment(context)
    stamp(dataset, source, context)
    return dataset


def identified(sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    """A data set that says what it is and that this node made it."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class_uid, sop_instance_uid
    dataset.Manufacturer, dataset.DeviceSerialNumber = MANUFACTURER, DEVICE_SERIAL_NUMBER
    return dataset


def coded(code: Code) -> Dataset:
    """A code as the item of a code sequence (PS3.3 8.8)."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code.value, code.scheme_designator, code.meaning
    return item


def referenced_series(references: Iterable[tuple[str, Reference]], item_keyword: str) -> list[Dataset]:
    """Items of a Referenced Series Sequence: the instances by series, each once.

    `references`: Series Instance UID and image. `item_keyword`: the sequence that holds the instances of a series.
    """
    by_series: dict[str, dict[str, Dataset]] = {}
    for series_uid, reference in references:
        item = Dataset()
        item.ReferencedSOPClassUID = reference.sop_class_uid
        item.ReferencedSOPInstanceUID = reference.sop_instance_uid
        by_series.setdefault(series_uid, {}).setdefault(reference.sop_instance_uid, item)
    listed = []
    for series_uid, instances in by_series.items():
        series = Dataset()
        series.SeriesInstanceUID = series_uid
        setattr(series, item_keyword, list(instances.values()))
        listed.append(series)
    return listed


def sources_of(parts: Sequence[ReadPart]) -> list[Dataset]:
    """The header of each instance that was read, once."""
    return list({text(source, "SOPInstanceUID"): source for part in parts for source in part.volume.sources}.values())
