"""Signing in by a real OpenID Connect provider, npm's oidc-provider, on loopback; and by what pretends to be one."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx2
import pytest
from fastapi.testclient import TestClient
from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey

from tests.services import await_true, free_port, listens, missing
from tests.unit.workflows.web.conftest import PAGE, PASSWORD, Browser
from workflows.bootstrap import Node
from workflows.settings import OidcSettings, Settings
from workflows.state.people import AccountSource, Role
from workflows.web.app import create_app
from workflows.web.openid import OpenIDProvider, ProviderAway, SignInRefused
from workflows.web.sessions import SessionDoor

BACK = "http://127.0.0.1/sign-in/oidc/callback"
HERE = Path(__file__).parent
PACKAGE = "oidc-provider@9"


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a running provider."""
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        missing("npm", "npm")
    folder = tmp_path_factory.mktemp("provider")
    install = [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(folder), PACKAGE]
    if subprocess.run(install, capture_output=True, timeout=200).returncode:
        missing(f"npm's {PACKAGE}", "npm, and a registry that it reaches")
    shutil.copy(HERE / "openid_provider.mjs", folder)
    port = free_port()
    with (folder / "provider.log").open("wb") as log:
        command = [node, str(folder / "openid_provider.mjs"), str(port), BACK]
        running = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    try:
        await_true(lambda: listens(port), "the provider listening", 60)
        yield f"http://127.0.0.1:{port}"
    finally:
        running.terminate()
        running.wait(20)


@pytest.fixture
def pages(provider: str, tmp_path: Path) -> Iterator[Browser]:
    """A browser before pages that know the provider."""
    with_secret = {"issuer": provider, "client_id": "medseg", "client_secret": "a secret of the tests"}
    oidc = {**with_secret, "roles_claim": "realm_access.roles"}
    settings = Settings.model_validate({"node": {"data_dir": str(tmp_path / "data")}, "web": {"oidc": oidc}})
    node = Node(settings)
    app = create_app(node, SessionDoor(node))
    with TestClient(app, base_url="http://127.0.0.1", headers=PAGE, follow_redirects=False) as client:
        yield Browser(client, node)
    node.repository.close()


def at_the_provider(address: str, name: str) -> str:
    """Sign in there as anybody does, by its own pages; the address that it sends the browser back to."""
    with httpx2.Client(follow_redirects=False) as client:
        answer = client.get(address)
        for _ in range(20):
            if answer.is_redirect:
                address = urljoin(str(answer.url), answer.headers["location"])
                if address.startswith(BACK):
                    return address
                answer = client.get(address)
                continue
            action = re.search(r'action="([^"]+)"', answer.text)
            prompt = re.search(r'name="prompt" value="([^"]+)"', answer.text)
            assert action is not None and prompt is not None, answer.text[:500]
            form = {"prompt": prompt[1], "login": name, "password": "any"}
            answer = client.post(urljoin(str(answer.url), action[1]), data=form)
    raise AssertionError("the provider did not send the browser back")


def begun(pages: Browser, **more: str) -> str:
    answer = pages.client.get("/sign-in/oidc", params=more)
    assert answer.status_code == 303
    return answer.headers["location"]


@pytest.mark.service("npm")
def test_who_has_a_role_there_is_signed_in_here(pages: Browser) -> None:
    address = begun(pages, next="/worklist?tab=mine")
    asked = parse_qs(urlsplit(address).query)
    assert asked["code_challenge_method"] == ["S256"] and asked["nonce"] and asked["state"]
    answer = pages.client.get(at_the_provider(address, "reader"))
    assert answer.status_code == 303 and answer.headers["location"] == "/worklist?tab=mine"
    account = pages.node.repository.account("reader")
    assert account is not None and account.source is AccountSource.OIDC
    assert (account.role, account.name) == (Role.REVIEWER, "PHANTOM^reader")
    assert pages.client.get("/account").status_code == 200


@pytest.mark.service("npm")
def test_the_highest_role_counts_and_who_has_none_is_told_what_to_ask_for(pages: Browser) -> None:
    pages.client.get(at_the_provider(begun(pages), "chief"))
    assert pages.client.get("/users").status_code == 200
    pages.client.cookies.clear()
    answer = pages.client.get(at_the_provider(begun(pages), "guest"))
    assert answer.status_code == 403 and "realm_access.roles" in answer.text and "reviewer" in answer.text
    assert pages.node.repository.account("guest") is None
    assert pages.client.get("/account").status_code == 303


@pytest.mark.service("npm")
def test_a_person_there_does_not_get_the_account_of_that_name_here(pages: Browser) -> None:
    pages.add("chief", Role.VIEWER, PASSWORD)
    pages.client.get(at_the_provider(begun(pages), "chief"))
    names = {one.account: one.source for one in pages.node.repository.accounts()}
    assert names.pop("chief") is AccountSource.LOCAL
    assert list(names.values()) == [AccountSource.OIDC] and next(iter(names)).startswith("chief-")


@pytest.mark.service("npm")
def test_a_disabled_account_stays_out_though_the_provider_vouches_for_it(pages: Browser) -> None:
    pages.client.get(at_the_provider(begun(pages), "reader"))
    pages.node.repository.disable_account("reader")
    assert pages.client.get("/account").status_code == 303
    answer = pages.client.get(at_the_provider(begun(pages), "reader"))
    assert answer.status_code == 403 and "disabled" in answer.text


@pytest.mark.service("npm")
def test_the_answer_is_good_once_and_in_the_browser_that_asked(pages: Browser) -> None:
    back = at_the_provider(begun(pages), "reader")
    kept = dict(pages.client.cookies)
    pages.client.cookies.clear()
    assert pages.client.get(back).status_code == 400, "another browser (login CSRF)"
    pages.client.cookies.update(kept)
    wrong = back.replace("state=", "state=x")
    assert pages.client.get(wrong).status_code == 400
    assert pages.client.get(back).status_code == 400, "the flow was used up by the wrong state"
    back = at_the_provider(begun(pages), "reader")
    assert pages.client.get(back).status_code == 303
    assert pages.client.get(back).status_code == 400, "replayed"
    begun(pages)
    state = parse_qs(urlsplit(begun(pages)).query)["state"][0]
    answer = pages.client.get(f"{BACK}?code=invented&state={state}")
    assert answer.status_code == 403 and "does not hold" in answer.text


# --- ID tokens that do not hold, without any provider -----------------------------------------------------------------

KEY = RSAKey.generate_key(2048, {"kid": "ours", "use": "sig", "alg": "RS256"})
CLAIMS = {"iss": "https://login.invalid", "aud": "medseg", "sub": "1", "nonce": "n", "iat": 1, "exp": 4102444800}


@dataclass
class Pretender:
    """A provider whose token endpoint gives what a test wants."""

    id_token: str = ""

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        if request.url.path == "/.well-known/openid-configuration":
            names = ("authorization_endpoint", "token_endpoint", "jwks_uri")
            found = {name: f"https://login.invalid/{name}" for name in names}
            return httpx2.Response(200, json={"issuer": "https://login.invalid", **found})
        if request.url.path == "/jwks_uri":
            return httpx2.Response(200, json=KeySet([KEY]).as_dict())
        return httpx2.Response(200, json={"access_token": "a", "token_type": "Bearer", "id_token": self.id_token})


def finish(id_token: str) -> object:
    """What a provider is believed that gives this ID token."""
    settings = OidcSettings(issuer="https://login.invalid", client_id="medseg")
    provider = OpenIDProvider(settings, httpx2.MockTransport(Pretender(id_token)))
    return provider.finish({"code": "c"}, BACK, "n", "v" * 43)


def signed(**changed: object) -> str:
    claims = {name: value for name, value in {**CLAIMS, **changed}.items() if value is not None}
    return jwt.encode({"alg": "RS256", "kid": "ours"}, claims, KEY)


def test_a_token_that_holds_is_taken() -> None:
    assert finish(signed()).subject == "1"  # type: ignore[attr-defined]


def unsigned() -> str:
    _, body, _ = signed().split(".")
    return f"eyJhbGciOiJub25lIn0.{body}."


def by_another_key() -> str:
    return jwt.encode({"alg": "RS256", "kid": "ours"}, CLAIMS, RSAKey.generate_key(2048))


@pytest.mark.parametrize(
    "token",
    [unsigned, by_another_key, lambda: "", lambda: "a.b.c",
     lambda: signed(iss="https://other.invalid"), lambda: signed(aud="another"), lambda: signed(nonce="m"),
     lambda: signed(nonce=None), lambda: signed(exp=2), lambda: signed(exp=None), lambda: signed(iat=4102444800),
     lambda: signed(sub=None), lambda: signed(sub=""), lambda: signed(aud=["medseg", "another"]),
     lambda: signed(azp="another")],
)  # fmt: skip
def test_a_token_that_does_not_hold_is_refused(token: Callable[[], str]) -> None:
    with pytest.raises((SignInRefused, ProviderAway)):
        finish(token())


def test_a_provider_without_tls_is_not_asked() -> None:
    with pytest.raises(ProviderAway, match="https"):
        OpenIDProvider(OidcSettings(issuer="http://login.invalid", client_id="medseg")).begin(BACK)
