"""Instances whose identifiers were blanked before they were published, with identifiers of their own again."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

import pydicom

from dicom_node.identifiers import derived_uid

__all__ = ["with_identifiers"]


def with_identifiers(contents: Mapping[str, bytes], name: str, folder: Path) -> list[Path]:
    """Write the instances of one series to `folder`, with what is blank in them filled in, and return their paths.

    `contents`: files by their names. `name`: of the series; UIDs follow from it and the file's name, so that the same
    files always become the same instances. SOP Class UID comes from the file meta information.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, (file_name, content) in enumerate(sorted(contents.items()), start=1):
        instance = pydicom.dcmread(BytesIO(content))
        blank = {
            "StudyInstanceUID": derived_uid("study", name),
            "SeriesInstanceUID": derived_uid("series", name),
            "SOPInstanceUID": derived_uid("instance", name, file_name),
            "SOPClassUID": instance.file_meta.MediaStorageSOPClassUID,
            "PatientID": name,
            "PatientName": name,
        }
        for keyword, value in blank.items():
            if not instance.get(keyword):
                setattr(instance, keyword, value)
        instance.file_meta.MediaStorageSOPInstanceUID = instance.SOPInstanceUID
        paths.append(folder / f"{number:03d}.dcm")
        instance.save_as(paths[-1], enforce_file_format=True)
    return paths
