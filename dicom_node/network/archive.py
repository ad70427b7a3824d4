"""Archive: what a node asks of one, over DIMSE or DICOMweb: what is there, and a copy of it. The one client for it."""

from __future__ import annotations

from dicom_node.network.association import Timeouts
from dicom_node.network.dicomweb import DicomwebArchive
from dicom_node.network.query import DimseArchive, move
from dicom_node.network.records import Archive, ArchiveAddress, FoundInstance, FoundSeries, FoundStudy

__all__ = ["Archive", "ArchiveAddress", "FoundInstance", "FoundSeries", "FoundStudy", "move", "open_archive"]


def open_archive(address: ArchiveAddress, calling_ae_title: str, *, timeouts: Timeouts | None = None) -> Archive:
    """The client: over DICOMweb where the archive has it, else C-FIND and C-GET. Nothing is asked yet."""
    if address.dicomweb_url:
        return DicomwebArchive(address, timeouts or Timeouts())
    return DimseArchive(address.peer, calling_ae_title, timeouts or Timeouts())
