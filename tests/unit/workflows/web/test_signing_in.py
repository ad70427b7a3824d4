"""Signing in and out by a password: what works, and what somebody else tries."""

from __future__ import annotations

import pytest

from tests.unit.workflows.web.conftest import PASSWORD, Browser
from workflows.state.people import Role


def test_who_has_the_password_is_signed_in_and_goes_on_where_they_were(browser: Browser) -> None:
    browser.add("reader")
    asked = browser.client.get("/worklist?tab=mine")
    assert asked.status_code == 303 and asked.headers["location"] == "/login?next=/worklist%3Ftab%3Dmine"
    answer = browser.sign_in("Reader ", next="/worklist?tab=mine")
    assert answer.status_code == 303 and answer.headers["location"] == "/worklist?tab=mine"
    assert browser.client.get("/account").status_code == 200


def test_the_cookie_is_kept_from_scripts_and_only_its_digest_is_in_the_database(browser: Browser) -> None:
    browser.add("reader")
    cookie = next(c for c in browser.sign_in("reader").headers.get_list("set-cookie") if "session" in c)
    assert "HttpOnly" in cookie and "SameSite=lax" in cookie and "Max-Age" not in cookie
    token = cookie.partition("=")[2].partition(";")[0]
    file = browser.node.folder.root / "medseg-node.db"
    stored = b"".join(path.read_bytes() for path in file.parent.glob("medseg-node.db*"))
    assert token.encode() not in stored


@pytest.mark.parametrize("where", ["https://evil.example/", "//evil.example", "/\\evil.example", "/\t/evil.example",
                                   "javascript:alert(1)", "/login?next=/x", "/logout"])  # fmt: skip
def test_nobody_is_sent_to_another_site_after_it(browser: Browser, where: str) -> None:
    browser.add("reader")
    assert browser.sign_in("reader", next=where).headers["location"] == "/"


def test_a_wrong_password_and_no_such_account_are_told_alike(browser: Browser) -> None:
    browser.add("reader")
    wrong, unknown = browser.sign_in("reader", "x" * 12), browser.sign_in("nobody", "x" * 12)
    assert wrong.status_code == unknown.status_code == 401
    told = [one.text.replace("reader", "").replace("nobody", "") for one in (wrong, unknown)]
    assert told[0] == told[1]


@pytest.mark.parametrize("account", ["'; --", '"><script>alert(1)</script>', "a" * 5000, "\x00", "\u202ereader", ""])
def test_whatever_is_typed_as_a_name_is_refused_and_escaped(browser: Browser, account: str) -> None:
    answer = browser.sign_in(account, "x" * 12)
    assert answer.status_code == 401
    assert "<script>alert" not in answer.text


def test_an_endless_password_is_refused_and_not_hashed(browser: Browser) -> None:
    browser.add("reader")
    assert browser.sign_in("reader", PASSWORD + " " * 5000).status_code == 401
    assert browser.sign_in("reader", "x" * 2_000_000).status_code == 413


def test_who_guesses_waits_and_the_person_at_their_own_browser_does_not(browser: Browser) -> None:
    browser.add("reader")
    browser.sign_in("reader")
    own = dict(browser.client.cookies)
    browser.client.cookies.clear()
    answers = [browser.sign_in("reader", f"guess number {n}").status_code for n in range(7)]
    assert answers[:5] == [401] * 5 and 429 in answers
    assert browser.sign_in("reader").status_code == 429, "the right password too: else a guess tells"
    browser.client.cookies.clear()
    browser.client.cookies.update({name: value for name, value in own.items() if "device" in name})
    assert browser.sign_in("reader").status_code == 303


def test_signing_out_ends_the_session_also_for_who_kept_the_cookie(browser: Browser) -> None:
    browser.add("reader")
    browser.sign_in("reader")
    kept = dict(browser.client.cookies)
    assert browser.send("/logout").status_code == 303
    browser.client.cookies.update(kept)
    assert browser.client.get("/account").status_code == 303


def test_a_session_is_not_the_one_that_somebody_put_there_before(browser: Browser) -> None:
    browser.add("reader")
    token = browser.csrf("/login")
    cookies = {**dict(browser.client.cookies), "medseg-session-80": "planted"}
    browser.client.cookies.clear()
    form = {"csrf": token, "account": "reader", "password": PASSWORD}
    header = "; ".join(f"{name}={value}" for name, value in cookies.items())
    answer = browser.client.post("/login", data=form, headers={"Cookie": header})
    assert answer.status_code == 303 and "planted" not in str(answer.headers)
    browser.client.cookies.clear()
    assert browser.client.get("/account", headers={"Cookie": "medseg-session-80=planted"}).status_code == 303


def test_a_script_that_is_signed_out_gets_a_sentence(browser: Browser) -> None:
    answer = browser.client.get("/worklist", headers={"Accept": "application/json", "Sec-Fetch-Mode": "cors"})
    assert answer.status_code == 401 and "Sign in" in answer.json()["detail"]
    answer = browser.client.post("/studies/1.2/open", headers={"Accept": "application/json", "Sec-Fetch-Mode": "cors"})
    assert answer.status_code == 401


@pytest.mark.parametrize("change", ["password", "role", "disabled"])
def test_a_change_of_the_account_ends_its_sessions_at_once(browser: Browser, change: str) -> None:
    browser.add("boss", Role.ADMINISTRATOR)
    browser.add("reader")
    browser.sign_in("reader")
    assert browser.client.get("/account").status_code == 200
    repository = browser.node.repository
    if change == "password":
        repository.set_password("reader", "another hash")
    elif change == "role":
        repository.set_role("reader", Role.VIEWER)
    else:
        repository.disable_account("reader")
    assert browser.client.get("/account").status_code == 303
    if change == "disabled":
        assert browser.sign_in("reader").status_code == 401


def test_ones_own_password_is_changed_with_the_old_one(browser: Browser) -> None:
    browser.add("reader")
    browser.sign_in("reader")
    new = "another horse entirely"
    assert browser.send("/account", now="wrong password", password=new, again=new).status_code == 403
    assert browser.send("/account", now=PASSWORD, password="short", again="short").status_code == 422
    assert browser.send("/account", now=PASSWORD, password=new, again=new + "x").status_code == 422
    assert browser.send("/account", now=PASSWORD, password=new, again=new).status_code == 200
    assert browser.client.get("/account").status_code == 200, "this browser stays signed in"
    browser.client.cookies.clear()
    assert browser.sign_in("reader", PASSWORD).status_code == 401
    assert browser.sign_in("reader", new).status_code == 303


def test_it_is_in_the_audit_without_what_was_typed(browser: Browser) -> None:
    browser.add("reader")
    browser.sign_in("my secret password", "x" * 12)
    browser.sign_in("reader", "x" * 12)
    browser.sign_in("reader")
    entries = browser.node.repository.audit_entries()
    assert [(one.who, one.action) for one in entries] == [
        ("unknown", "sign-in refused"), ("reader", "sign-in refused"), ("reader", "sign-in"),
    ]  # fmt: skip
    assert not any("secret" in str(one) for one in entries)
