from __future__ import annotations

import pytest
from pynetdicom import sop_class

from dicom_node.network.contexts import ACCEPTED_STORAGE_CLASSES
from dicom_node.sop_classes import WRITTEN_CLASSES, ImageKind, holds_images, image_kind


def test_whatever_is_read_holds_images_and_of_what_is_written_captures_alone() -> None:
    assert all(holds_images(uid) for uid in ACCEPTED_STORAGE_CLASSES if image_kind(uid))
    root = "1.2.840.10008.5.1.4.1.1"
    captures = {f"{root}.7", f"{root}.7.4"}
    others = {f"{root}.{tail}" for tail in ("66.4", "88.34", "88.59", "104.1", "11.1", "11.2")}
    assert captures | others == WRITTEN_CLASSES
    assert {uid for uid in WRITTEN_CLASSES if holds_images(uid)} == captures


def test_of_the_classes_of_the_standard_those_called_image_hold_images() -> None:
    """The names of PS3.4 B.5 say it, but for those that are called after what they hold."""
    maps = {"ParametricMapStorage", "OphthalmicThicknessMapStorage", "CornealTopographyMapStorage"}
    volumes = {"EnhancedUSVolumeStorage"}
    photographs = {name for name in dir(sop_class) if "OphthalmicPhotography" in name}
    named = {name: getattr(sop_class, name) for name in dir(sop_class) if name.endswith("Storage")}
    known = {name: uid for name, uid in named.items() if str(uid) in ACCEPTED_STORAGE_CLASSES}
    expected = {name for name in known if "Image" in name} | maps | volumes | photographs
    assert {name for name, uid in known.items() if holds_images(uid)} == expected


@pytest.mark.parametrize(
    ("uid", "holds"),
    [
        ("1.2.840.10008.5.1.4.1.1.88.999", False),  # a report of a later edition of the standard
        ("1.2.840.10008.5.1.4.1.1.11.999", False),
        ("1.2.840.10008.5.1.4.1.1.999", True),  # a class of a later edition
        ("1.2.826.0.1.3680043.10.1234", True),  # private
        ("", True),
    ],
)
def test_what_is_not_known_counts_as_images(uid: str, holds: bool) -> None:
    assert holds_images(uid) is holds


def test_how_images_are_read() -> None:
    assert image_kind("1.2.840.10008.5.1.4.1.1.2") is ImageKind.SLICE
    assert image_kind("1.2.840.10008.5.1.4.1.1.2.1") is ImageKind.MULTI_FRAME
    assert image_kind("1.2.840.10008.5.1.4.1.1.1.1") is ImageKind.IMAGE
    assert image_kind("1.2.840.10008.5.1.4.1.1.20") is ImageKind.IMAGE  # nuclear medicine
    assert image_kind("1.2.840.10008.5.1.4.1.1.77.1.6") is None  # whole slides: images that the node does not read
