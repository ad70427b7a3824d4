"""The administrator's page of accounts, and the links that it makes."""

from __future__ import annotations

import re

import pytest

from tests.unit.workflows.web.conftest import PASSWORD, Browser
from workflows.state.people import Role


@pytest.fixture
def boss(browser: Browser) -> Browser:
    browser.add("boss", Role.ADMINISTRATOR)
    browser.sign_in("boss")
    return browser


def link_in(text: str) -> str:
    found = re.search(r'value="http://127\.0\.0\.1(/link/[^"]+)"', text)
    assert found is not None
    return found[1]


def test_a_new_account_gets_a_link_by_which_its_owner_chooses_a_password(boss: Browser) -> None:
    page = boss.send("/users", account="New.Reader", family="PHANTOM", given="Alpha", role="reviewer")
    path = link_in(page.text)
    assert path not in boss.client.get("/users").text, "shown once"
    assert "PHANTOM, Alpha" in page.text
    boss.client.cookies.clear()
    assert boss.client.get(path).status_code == boss.client.get(path).status_code == 200, "looking uses nothing up"
    assert boss.send(path, path, password="short", again="short").status_code == 422
    assert boss.send(path, path, password=PASSWORD, again="another one there").status_code == 422
    assert boss.client.post(path, data={"password": PASSWORD, "again": PASSWORD}).status_code == 403, "without its form"
    assert boss.send(path, path, password=PASSWORD, again=PASSWORD).status_code == 303
    assert "new.reader" in boss.client.get("/account").text
    assert boss.client.get(path).status_code == 404
    boss.client.cookies.clear()
    assert boss.sign_in("new.reader").status_code == 303


@pytest.mark.parametrize("name", ["", "a b", '"><script>', "a" * 65, "boss"])
def test_a_name_that_cannot_be_one_is_refused(boss: Browser, name: str) -> None:
    answer = boss.send("/users", account=name, family="PHANTOM", role="viewer")
    assert answer.status_code in (409, 422) and "<script>alert" not in answer.text and '"><script>' not in answer.text
    assert len(boss.node.repository.accounts()) == 1


def test_a_persons_name_is_a_dicom_name_whatever_was_typed(boss: Browser) -> None:
    boss.send("/users", account="x", family="A^B=C\\D\u202e<u>", given="E\n", role="viewer")
    account = boss.node.repository.account("x")
    assert account is not None and account.name == "A B C D <u>^E"
    assert "<u>" not in boss.client.get("/users").text


def test_roles_and_disabling(boss: Browser) -> None:
    boss.add("reader")
    assert boss.send("/users/reader/role", role="administrator").status_code == 303
    assert boss.send("/users/reader/role", role="owner").status_code == 422
    assert boss.send("/users/reader/disable").status_code == 303
    assert boss.send("/users/boss/disable").status_code == 409, "the last who can undo it"
    assert boss.send("/users/nobody/disable").status_code == 409
    assert boss.send("/users/reader/link").status_code == 404, "a disabled account gets no link"
    assert boss.send("/users/reader/enable").status_code == 303
    assert boss.send("/users/reader/link").status_code == 200


def test_a_link_that_only_signs_in_needs_no_click_unless_another_page_leads_to_it(boss: Browser) -> None:
    from datetime import timedelta

    from workflows.state.people import OneTimeKind

    boss.client.cookies.clear()
    token = boss.node.repository.make_one_time(OneTimeKind.LINK, timedelta(hours=1), "boss", {"next": "/users"})
    path = f"/link/{token}"
    assert "data-submit" in boss.client.get(path, headers={"Sec-Fetch-Site": "none"}).text
    assert "data-submit" not in boss.client.get(path, headers={"Sec-Fetch-Site": "cross-site"}).text
    assert boss.send(path, path).headers["location"] == "/users"
