"""The application comes up, and its static files are there."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from fastapi.testclient import TestClient

from workflows.web.access import Role
from workflows.web.dates import day_of, moment_utc


def test_what_pages_share_is_served(client_of: Callable[[Role], TestClient]) -> None:
    answer = client_of(Role.VIEWER).get("/static/page.js")
    assert answer.status_code == 200
    assert "javascript" in answer.headers["content-type"]


def test_days_stand_in_one_order_on_all_pages() -> None:
    at = datetime(2026, 11, 3, 7, 5, 9, tzinfo=UTC)
    assert (day_of("2026-11-03"), day_of("unknown"), day_of(None)) == ("3 Nov 2026", "unknown", "")
    assert moment_utc(at) == "3 Nov 2026 07:05:09"
