"""Accounts, sessions, one-time secrets and attempts, on both databases."""

from __future__ import annotations

from datetime import timedelta

import pytest

from workflows.errors import AccountRefused
from workflows.state.people import Account, AccountSource, OneTimeKind, Role, account_name

from .conftest import World

IDLE = timedelta(minutes=30)


def added(world: World, account: str = "reader", role: Role = Role.REVIEWER) -> Account:
    return world.repository.add_account(account, "PHANTOM^Reader", role, "a hash")


def test_a_session_ends_by_itself_when_nobody_is_there_and_after_its_hours(world: World) -> None:
    account = added(world)
    token, _ = world.repository.start_session(account, hours=1)
    for _ in range(3):
        world.tick(19 * 60)
        assert world.repository.session_of(token, IDLE) is not None, "each look counts as a sign of life"
    world.tick(4 * 60)
    assert world.repository.session_of(token, IDLE) is None
    token, _ = world.repository.start_session(account, hours=10)
    world.tick(29 * 60)
    assert world.repository.session_of(token, IDLE, touch=False) is not None, "a page that asks by itself is none"
    world.tick(2 * 60)
    assert world.repository.session_of(token, IDLE) is None
    assert world.repository.session_of("invented", IDLE) is None


def test_who_proved_it_with_what_is_changed_meanwhile_is_not_signed_in(world: World) -> None:
    account = added(world)
    world.repository.set_password("reader", "another")
    with pytest.raises(AccountRefused):
        world.repository.start_session(account, hours=1)


def test_a_change_ends_sessions_and_links(world: World) -> None:
    account = added(world)
    token, _ = world.repository.start_session(account, hours=1)
    link = world.repository.make_one_time(OneTimeKind.LINK, timedelta(hours=1), "reader")
    world.repository.set_role("reader", Role.VIEWER)
    assert world.repository.session_of(token, IDLE) is None
    assert world.repository.use_one_time(OneTimeKind.LINK, link) is None


def test_somebody_can_always_manage_accounts(world: World) -> None:
    added(world, "boss", Role.ADMINISTRATOR)
    for change in (
        lambda: world.repository.disable_account("boss"),
        lambda: world.repository.set_role("boss", Role.VIEWER),
    ):
        with pytest.raises(AccountRefused, match="only administrator"):
            change()
    added(world, "second", Role.ADMINISTRATOR)
    world.repository.disable_account("boss")
    with pytest.raises(AccountRefused, match="only administrator"):
        world.repository.disable_account("second")


def test_a_secret_works_once_in_its_time_and_for_what_it_is(world: World) -> None:
    added(world)
    make, use = world.repository.make_one_time, world.repository.use_one_time
    link = make(OneTimeKind.LINK, timedelta(hours=1), "reader", {"next": "/worklist"})
    assert use(OneTimeKind.FLOW, link) is None, "for something else"
    used = use(OneTimeKind.LINK, link)
    assert used is not None and used[0] is not None and (used[0].account, used[1]) == ("reader", {"next": "/worklist"})
    assert use(OneTimeKind.LINK, link) is None
    late = make(OneTimeKind.LINK, timedelta(hours=1), "reader")
    world.tick(3600)
    assert world.repository.known_one_time(OneTimeKind.LINK, late) is None
    assert use(OneTimeKind.LINK, late) is None
    with pytest.raises(AccountRefused):
        make(OneTimeKind.LINK, timedelta(hours=1), "nobody")


def test_who_guesses_waits_longer_and_longer_but_not_for_ever(world: World) -> None:
    added(world)
    waits = []
    for _ in range(14):
        while (wait := world.repository.begin_attempt("reader", "10.0.0.1", "")) > 0:
            waits.append(wait)
            world.tick(wait)
    assert waits == sorted(waits) and waits[0] <= 1 and max(waits) <= 300


def test_strangers_lock_nobody_out_of_a_browser_that_they_have_used(world: World) -> None:
    added(world)
    device = world.repository.attempt_succeeded("reader", "10.0.0.9", "")
    for number in range(50):
        world.repository.begin_attempt("reader", f"10.0.1.{number}", "")
        world.repository.begin_attempt("reader", "10.0.0.9", "invented")
    assert world.repository.begin_attempt("reader", "10.0.0.8", "") > 0
    assert world.repository.begin_attempt("reader", "10.0.0.9", device) == 0
    added(world, "other")
    assert world.repository.begin_attempt("other", "10.0.0.9", device) >= 0
    guesses = [world.repository.begin_attempt("reader", "10.0.0.9", device) for _ in range(10)]
    assert guesses[-1] > 0, "whoever has stolen the browser's token waits too"


def test_one_address_that_tries_many_accounts_waits(world: World) -> None:
    waits = [world.repository.begin_attempt(f"account{number}", "10.0.0.1", "") for number in range(30)]
    assert waits[:20] == [0.0] * 20 and waits[-1] > 0
    assert world.repository.begin_attempt("account1", "10.0.0.2", "") == 0, "others do not"


def test_a_provider_knows_people_by_issuer_and_subject(world: World) -> None:
    added(world, "reader")
    make = world.repository.account_of_provider
    first = make("https://a", "1", "reader", "A^B", Role.REVIEWER)
    assert first.source is AccountSource.OIDC and first.account != "reader"
    assert make("https://a", "1", "renamed", "A^C", Role.VIEWER).account == first.account
    assert make("https://b", "1", "reader2", "A^B", Role.REVIEWER).account == "reader2"
    with pytest.raises(AccountRefused, match="provider"):
        world.repository.set_password(first.account, "a hash")
    world.repository.disable_account(first.account)
    with pytest.raises(AccountRefused, match="disabled"):
        make("https://a", "1", "reader", "A^B", Role.REVIEWER)


@pytest.mark.parametrize(("typed", "name"), [(" Reader ", "reader"), ("a@b.org", "a@b.org"), ("ｒｅａｄｅｒ", "reader"),
                                             ("", None), ("a b", None), ("../x", None), ("é", None), ("a" * 65, None),
                                             ("-x", None), ("a\u202eb", None), ("a\x00", None)])  # fmt: skip
def test_names_of_accounts(typed: str, name: str | None) -> None:
    assert account_name(typed) == name


def test_accounts_outlive_the_purge_of_every_study(world: World) -> None:
    account = added(world)
    world.receive()
    token, _ = world.repository.start_session(account, hours=1)
    world.repository.purge("1.2.3", "somebody")
    assert world.repository.session_of(token, IDLE) is not None
