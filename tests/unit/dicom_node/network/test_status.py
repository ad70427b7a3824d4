from __future__ import annotations

import pytest

from dicom_node.errors import (
    DicomNodeError,
    IdentifierMismatch,
    InstanceRefused,
    StorageFull,
    UnparseableInstance,
)
from dicom_node.network.status import Delivery, delivery_of, store_status


class OutOfQuota(StorageFull):
    pass


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (StorageFull("x"), 0xA700),
        (OutOfQuota("x"), 0xA700),
        (IdentifierMismatch("x"), 0xA900),
        (UnparseableInstance("x"), 0xC000),
        (InstanceRefused("x"), 0x0110),
        (DicomNodeError("x"), 0x0110),
        (RuntimeError("x"), 0x0110),
    ],
)
def test_each_error_has_its_status(error: Exception, status: int) -> None:
    assert store_status(error).status == status


def test_comments_fit_their_attribute_and_keep_secrets() -> None:
    for error in (
        StorageFull("secret"),
        IdentifierMismatch("secret"),
        UnparseableInstance("secret"),
        OSError("secret"),
    ):
        comment = store_status(error).comment
        assert len(comment) <= 64
        assert "secret" not in comment


@pytest.mark.parametrize(
    ("status", "delivery"),
    [
        (0x0000, Delivery.DELIVERED),
        (0x0111, Delivery.DELIVERED),
        (0xB000, Delivery.DELIVERED),
        (0xB006, Delivery.DELIVERED),
        (0xB007, Delivery.DELIVERED),
        (0x0001, Delivery.DELIVERED),
        (0x0107, Delivery.DELIVERED),
        (0x0116, Delivery.DELIVERED),
        (0xB001, Delivery.DELIVERED),
        (0xB123, Delivery.DELIVERED),
        (0xBFFF, Delivery.DELIVERED),
        (0xAFFF, Delivery.REFUSED),
        (0xA700, Delivery.TRY_AGAIN),
        (0xA7FF, Delivery.TRY_AGAIN),
        (0x0110, Delivery.TRY_AGAIN),
        (0xA900, Delivery.REFUSED),
        (0xC000, Delivery.REFUSED),
        (0x0122, Delivery.REFUSED),
    ],
)
def test_each_status_says_what_to_do_next(status: int, delivery: Delivery) -> None:
    assert delivery_of(status) is delivery
