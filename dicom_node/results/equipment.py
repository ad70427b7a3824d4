"""Which equipment made our results, and how any MedSeg Node's results are known again."""

from __future__ import annotations

from dicom_node.headers.instance import InstanceHeader
from dicom_node.sop_classes import WRITTEN_CLASSES

__all__ = ["DEVICE_SERIAL_NUMBER", "MANUFACTURER", "is_a_nodes_result"]

MANUFACTURER = "MedSeg Node"
DEVICE_SERIAL_NUMBER = "MEDSEG-NODE"


def is_a_nodes_result(header: InstanceHeader, sop_class_uid: str) -> bool:
    """Whether an instance is the result of any MedSeg Node: our manufacturer together with a class that we write."""
    return header.device.manufacturer == MANUFACTURER and sop_class_uid in WRITTEN_CLASSES
