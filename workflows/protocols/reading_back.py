"""Reading an example back: what a protocol makes of what is left of a study. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from dicom_node.headers.attributes import KeptStudy
from dicom_node.headers.study import study_header
from workflows.protocols.matching import match
from workflows.protocols.schema import ReadingProtocol

__all__ = ["asked_series", "mistake_of", "study_of_example"]


def study_of_example(example: Mapping[str, Any]) -> KeptStudy:
    """What the example says."""
    entry: dict[str, Any] = {
        "series": [
            {
                "attributes": {
                    **example.get("study", {}),
                    **{key: value for key, value in one.items() if key not in ("instances", "sop_class")},
                },
                **{key: one[key] for key in ("instances", "sop_class") if key in one},
            }
            for one in example["series"]
        ]
    }
    entry.update({key: example[key] for key in ("calling_ae", "received") if key in example})
    return KeptStudy.from_json(entry)


def asked_series(study: KeptStudy, protocol: ReadingProtocol) -> set[int]:
    """Places of the series that a protocol asks, as the study has them."""
    marked = KeptStudy(
        tuple(
            replace(one, attributes={**one.attributes, "SeriesInstanceUID": (f"1.2.{number:06d}",)})
            for number, one in enumerate(study.series, start=1)
        ),
        study.sources,
        study.received_at,
    )
    return {int(one.series_uid.rpartition(".")[2]) - 1 for one in match(study_header(marked), (protocol,)).matches}


def mistake_of(found: set[int], wanted: set[int], matches: bool) -> str:
    """Why an example does not say what its study did; "" where it does. Sets: places of series that are asked."""
    if not matches:
        return "the protocol asks it without what is left out" if found else ""
    if found == wanted:
        return ""
    if not found:
        return "the protocol does not ask it without what is left out"
    return "the protocol asks other series of it without what is left out"
