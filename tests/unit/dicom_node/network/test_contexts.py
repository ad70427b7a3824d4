from __future__ import annotations

import pytest
from pydicom.uid import AllTransferSyntaxes

from dicom_node.network.contexts import (
    ACCEPTED_STORAGE_CLASSES,
    ACCEPTED_TRANSFER_SYNTAXES,
    proposed_contexts,
    wanted_contexts,
)

CT, SEG = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.66.4"
IMPLICIT, EXPLICIT, JPEG_2000 = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.90"


def test_label_maps_and_3d_reports_are_among_the_accepted() -> None:
    assert {"1.2.840.10008.5.1.4.1.1.66.7", "1.2.840.10008.5.1.4.1.1.88.34", CT, SEG} < set(ACCEPTED_STORAGE_CLASSES)


def test_every_transfer_syntax_is_accepted() -> None:
    assert set(ACCEPTED_TRANSFER_SYNTAXES) == {str(uid) for uid in AllTransferSyntaxes}
    named = {"1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.201"}
    assert named < set(ACCEPTED_TRANSFER_SYNTAXES)


def test_the_default_transfer_syntax_is_offered_for_what_is_not_compressed() -> None:
    assert wanted_contexts((SEG, EXPLICIT)) == ((SEG, EXPLICIT), (SEG, IMPLICIT))
    assert wanted_contexts((SEG, IMPLICIT)) == ((SEG, IMPLICIT),)
    assert wanted_contexts((CT, JPEG_2000)) == ((CT, JPEG_2000),)


def test_each_encoding_is_proposed_once_and_on_its_own() -> None:
    contexts = proposed_contexts([(CT, EXPLICIT), (CT, JPEG_2000), (CT, EXPLICIT)])
    assert [(one.abstract_syntax, one.transfer_syntax) for one in contexts] == [(CT, [EXPLICIT]), (CT, [JPEG_2000])]


def test_no_more_than_an_association_can_hold() -> None:
    assert len(proposed_contexts((f"1.2.{number}", EXPLICIT) for number in range(128))) == 128
    with pytest.raises(ValueError, match="128 at most"):
        proposed_contexts((f"1.2.{number}", EXPLICIT) for number in range(129))
