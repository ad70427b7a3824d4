"""The studies that a person tries on the rules: of the node, or uploaded and forgotten again."""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from dicom_node.errors import UnparseableInstance
from dicom_node.headers.attributes import Attributes, KeptSeries, KeptStudy, attributes_in
from dicom_node.headers.study import StudyHeader, study_header
from workflows.bootstrap import Node
from workflows.steps.kept_headers import study_header_of
from workflows.web.uploads import Upload

__all__ = ["NotTried", "ReadUploads", "read_uploads", "study_of_node"]

_ZIP = b"PK\x03\x04"
_NO_DICOM = "no DICOM file; choose files as the PACS or the modality exports them"


class NotTried(Exception):
    """A study that cannot be tried; the message says why, and what to do."""


def study_of_node(node: Node, study_uid: str) -> StudyHeader:
    """What planning knows of a study. Raises NotTried."""
    instances = node.repository.instances(study_uid)
    if not instances:
        raise NotTried("No study of this UID is here. Type another one, or upload its files.")
    try:
        return study_header_of(instances, node.folder)
    except (OSError, UnparseableInstance) as error:
        raise NotTried("The headers of this study cannot be read any more; upload its files instead.") from error


@dataclass(frozen=True)
class ReadUploads:
    """`studies`: what the files are of. `refused`: names of files that were not taken, each with why."""

    studies: tuple[StudyHeader, ...]
    refused: tuple[tuple[str, str], ...]


def read_uploads(uploads: Sequence[Upload]) -> ReadUploads:
    """The studies of uploaded files, by their headers; a series has as many images as were uploaded of it."""
    studies: dict[str, dict[str, list[Attributes]]] = defaultdict(lambda: defaultdict(list))
    refused = []
    for upload in uploads:
        if upload.content.startswith(_ZIP):
            refused.append((upload.name, "an archive; unpack it, and choose the files in it"))
            continue
        try:
            found = attributes_in(io.BytesIO(upload.content))
        except (UnparseableInstance, OSError):
            refused.append((upload.name, _NO_DICOM))
            continue
        studies[_first(found, "StudyInstanceUID")][_first(found, "SeriesInstanceUID")].append(found)
    return ReadUploads(tuple(study_header(_kept(series)) for series in studies.values()), tuple(refused))


def _kept(series: dict[str, list[Attributes]]) -> KeptStudy:
    return KeptStudy(
        tuple(
            KeptSeries(found[0], tuple(sorted({_first(one, "SOPClassUID") for one in found} - {""})), len(found))
            for _uid, found in sorted(series.items())
        )
    )


def _first(attributes: Attributes, keyword: str) -> str:
    values = attributes.get(keyword, ())
    return values[0] if values and isinstance(values[0], str) else ""
