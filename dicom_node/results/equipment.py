"""Which equipment made our results, and how any MedSeg Node's results are known again."""

from __future__ import annotations

import highdicom as hd
from pydicom.dataset import Dataset

from dicom_node.headers.instance import InstanceHeader
from dicom_node.identifiers import derived_uid
from dicom_node.results import codes
from dicom_node.results.concept import Code
from dicom_node.results.finding import ResultContext
from dicom_node.sop_classes import WRITTEN_CLASSES

__all__ = ["DEVICE_SERIAL_NUMBER", "MANUFACTURER", "contributing_equipment", "is_a_nodes_result", "node_device_uid"]

MANUFACTURER = "MedSeg Node"
DEVICE_SERIAL_NUMBER = "MEDSEG-NODE"


def is_a_nodes_result(header: InstanceHeader, sop_class_uid: str) -> bool:
    """Whether an instance is the result of any MedSeg Node: our manufacturer together with a class that we write."""
    return header.device.manufacturer == MANUFACTURER and sop_class_uid in WRITTEN_CLASSES


def contributing_equipment(context: ResultContext) -> list[Dataset]:
    """Items for Contributing Equipment Sequence (PS3.3 C.12.1): this installation, and the algorithm that it ran.

    The algorithm's item is what the IHE profile AI Results asks for; its Device UID follows from weights and version.
    """
    node = _item(codes.PROCESSING_EQUIPMENT, MANUFACTURER, node_device_uid(context))
    node.StationName = context.station_ae_title
    node.DeviceSerialNumber = DEVICE_SERIAL_NUMBER
    uid = derived_uid("algorithm", context.weights_digest, context.algorithm_version)
    algorithm = _item(codes.PROCESSING_ALGORITHM, context.algorithm_name, uid)
    algorithm.SoftwareVersions = context.algorithm_version
    algorithm.ContributionDescription = f"weights sha256 {context.weights_digest}"
    return [node, algorithm]


def node_device_uid(context: ResultContext) -> str:
    """The UID of the installation as a device, the same in every object that it makes."""
    return derived_uid("device", context.node_uid or DEVICE_SERIAL_NUMBER)


def _item(purpose: Code, model: str, uid: str) -> Dataset:
    item = Dataset()
    item.PurposeOfReferenceCodeSequence = [hd.sr.CodedConcept.from_code(purpose)]
    item.Manufacturer, item.ManufacturerModelName, item.DeviceUID = MANUFACTURER, model, uid
    return item
