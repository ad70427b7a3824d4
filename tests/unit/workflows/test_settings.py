"""Settings: defaults that run, overrides from the environment, and every mistake named at once with its place."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel, ValidationError

from dicom_node.results.profiles import Profile
from workflows.errors import SettingsError
from workflows.settings import ArchiveSettings, Settings, load_settings

ARCHIVE = '[[archives]]\nname = "{0}"\nae_title = "{0}"\nhost = "h"\nport = 104\n'
EXAMPLE = Path("deploy") / "config" / "medseg-node.toml"


def mistakes(tmp_path: Path, text: str, environ: dict[str, str] | None = None) -> list[str]:
    path = tmp_path / "node.toml"
    path.write_text(text)
    with pytest.raises(SettingsError) as raised:
        load_settings(path, environ or {})
    return str(raised.value).replace(f"{path}:", "line ").splitlines()


def test_without_a_file_the_embedded_node_runs_on_this_machine(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = load_settings(None, {})
    assert (settings.node.ae_title, settings.node.host, settings.node.port) == ("MEDSEG", "127.0.0.1", 11112)
    assert settings.node.data_dir == tmp_path / "data"
    assert settings.database_url == f"sqlite:///{tmp_path}/data/medseg-node.db"
    assert settings.broker_url == f"filesystem://{tmp_path}/data/queue"
    assert settings.protocols.directory == checkout / "deploy" / "protocols"
    assert settings.model.checkpoint == "tiny"
    assert (settings.destinations, settings.results.profile) == ((), Profile.OHIF)


def test_a_variable_overrides_the_file(tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    path.write_text('[node]\nport = 1\nae_title = "FILE"\n[results]\nprofile = "air"\n')
    settings = load_settings(
        path,
        {
            "MEDSEG_NODE__NODE__PORT": "104",
            "MEDSEG_NODE__NODE__ALLOWED_CALLING_AE": "CT1, MR 2",
            "MEDSEG_NODE__RESULTS__PROFILE": "ohif",
            "MEDSEG_NODE__MODEL__ACCEPT_RESEARCH_USE": "true",
            "MEDSEG_NODE__ARCHIVES": '[{"name": "pacs", "ae_title": "PACS", "host": "pacs", "port": 104}]',
            "MEDSEG_NODE__PEERS": '[{"ae_title": "CT1", "quiet_period_s": 5}]',
            "OTHER": "nobody asks",
        },
    )
    assert (settings.node.port, settings.node.ae_title) == (104, "FILE")
    assert settings.node.allowed_calling_ae == ("CT1", "MR 2")
    assert settings.results.profile is Profile.OHIF and settings.model.accept_research_use
    assert settings.destinations == (ArchiveSettings(name="pacs", ae_title="PACS", host="pacs", port=104),)
    assert settings.peers[0].quiet_period_s == 5
    listed = load_settings(None, {"MEDSEG_NODE__NODE__ALLOWED_CALLING_AE": '["A", "B"]'})
    assert listed.node.allowed_calling_ae == ("A", "B")


def test_paths_in_a_file_are_relative_to_it_wherever_the_command_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    path = tmp_path / "node.toml"
    path.write_text('[node]\ndata_dir = "kept"\n[protocols]\ndirectory = "rules"\n[model]\ncheckpoint = "weights"\n')
    settings = load_settings(path, {})
    assert (settings.node.data_dir, settings.protocols.directory) == (tmp_path / "kept", tmp_path / "rules")
    assert settings.model.checkpoint == str(tmp_path / "weights")
    path.write_text("")
    settings = load_settings(Path("..") / "node.toml", {})
    assert settings.node.data_dir == tmp_path / "data"
    assert settings.database_url == f"sqlite:///{tmp_path}/data/medseg-node.db"
    path.write_text('[database]\nurl = "sqlite:///state.db"\n')
    assert load_settings(path, {}).database_url == f"sqlite:///{tmp_path}/state.db"
    settings = load_settings(path, {"MEDSEG_NODE__NODE__DATA_DIR": "here"})
    assert settings.node.data_dir == tmp_path / "elsewhere" / "here"


def test_what_comes_with_the_node_has_a_name_and_no_path(checkout: Path, tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    for name in ("tiny", "commissioning"):
        path.write_text(f'[protocols]\ndirectory = ""\n[model]\ncheckpoint = "{name}"\n')
        settings = load_settings(path, {})
        assert settings.model.checkpoint == name
        assert settings.protocols.directory == checkout / "deploy" / "protocols"
    path.write_text('[model]\ncheckpoint = "./tiny"\n')
    assert load_settings(path, {}).model.checkpoint == str(tmp_path / "tiny")


def test_all_mistakes_are_named_at_once_with_their_lines_and_a_remedy(tmp_path: Path) -> None:
    text = '[node]\nprot = 1\nport = 70000\nae_title = "SEVENTEEN LETTERS"\n\n[modell]\n\n[[archives]]\nhost = "a"\n'
    found = mistakes(tmp_path, text, {"MEDSEG_NODE__MODEL__DEVICE": "tpu", "MEDSEG_NODE__NODE__HOSTS": "x"})
    places = sorted(line.split(": ", 1)[0] for line in found)
    assert places == sorted(
        [f"line {number}" for number in (2, 3, 4, 6, 8, 8, 8)]
        + [f"MEDSEG_NODE__{setting}" for setting in ("MODEL__DEVICE", "NODE__HOSTS")]
    )
    assert "line 2: [node] prot is no setting; did you mean 'port'?" in found
    assert "line 6: [modell] is no setting; did you mean 'model'?" in found
    assert "line 8: [[archives]] 1 port is missing" in found
    assert "MEDSEG_NODE__NODE__HOSTS: [node] hosts is no setting; did you mean 'host'?" in found


def test_a_mistake_in_the_second_entry_of_a_list_has_its_own_line(tmp_path: Path) -> None:
    text = '[[peers]]\nae_title = "A"\n[[peers]]\nae_title = "B"\nquiet_period_s = -1\nquiet_period = 2\n'
    found = mistakes(tmp_path, text)
    assert found[0].startswith("line 5: [[peers]] 2 quiet_period_s: ")
    assert found[1] == "line 6: [[peers]] 2 quiet_period is no setting; did you mean 'quiet_period_s'?"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[results]\narchive = "x"\n', "[results] archive: no archive is called 'x'; [[archives]] has []"),
        (
            f'[results]\narchive = "A, x, y"\n{ARCHIVE.format("A")}',
            "archive: no archive is called 'x' or 'y'; [[archives]] has ['A']",
        ),
        (f'[results]\narchive = "A,A"\n{ARCHIVE.format("A")}', "[results] archive names one twice: ['A', 'A']"),
        (
            f'{ARCHIVE.format("A")}profile = "weasis"\n',
            "line 6: [[archives]] 1 profile: Input should be 'ohif', 'air', 'plain-pacs' or 'slicer'",
        ),
        ('[[peers]]\nae_title = "A"\n[[peers]]\nae_title = "A "\n', "two [[peers]] have the same ae_title"),
        ("[node\n", "not TOML"),
        ('[node]\nae_title = "A\\\\B"\n', "no backslash"),
        ('[node]\nallowed_calling_ae = ["A", ""]\n', "1 to 16 printable"),
        ('[model]\ncheckpoint = ""\n', "name a folder, or tiny, or commissioning"),
        ('[node]\ndata_dir = ""\n', "[node] data_dir: name a folder"),
        ('[broker]\nurl = "filesystem://queue"\n', "write filesystem:///FOLDER"),
    ],
)
def test_what_cannot_work_is_refused(tmp_path: Path, text: str, message: str) -> None:
    assert any(message in line for line in mistakes(tmp_path, text))


def test_two_archives_need_a_choice_and_one_does_not(tmp_path: Path) -> None:
    (mistake,) = mistakes(tmp_path, ARCHIVE.format("A") + ARCHIVE.format("B"))
    assert "[results] archive must name one or more of ['A', 'B']" in mistake
    (tmp_path / "one.toml").write_text(ARCHIVE.format("A"))
    assert [archive.name for archive in load_settings(tmp_path / "one.toml", {}).destinations] == ["A"]


@pytest.mark.parametrize(
    ("written", "names"), [('"B"', ["B"]), ('"C, A"', ["C", "A"]), ('["B", "A"]', ["B", "A"]), ('["A"]', ["A"])]
)
def test_results_go_to_the_archives_named_in_that_order(tmp_path: Path, written: str, names: list[str]) -> None:
    archives = "".join(ARCHIVE.format(name) for name in "ABC")
    (tmp_path / "node.toml").write_text(f"[results]\narchive = {written}\n{archives}")
    assert [archive.name for archive in load_settings(tmp_path / "node.toml", {}).destinations] == names
    variable = {"MEDSEG_NODE__RESULTS__ARCHIVE": written.strip('"')}
    (tmp_path / "node.toml").write_text(archives)
    assert [archive.name for archive in load_settings(tmp_path / "node.toml", variable).destinations] == names


def test_an_archive_has_its_own_profile_or_that_of_the_results(tmp_path: Path) -> None:
    archives = ARCHIVE.format("A") + ARCHIVE.format("B") + 'profile = "air"\n'
    (tmp_path / "node.toml").write_text(f'[results]\narchive = "A, B"\n{archives}')
    settings = load_settings(tmp_path / "node.toml", {})
    assert [settings.profile_of(archive) for archive in settings.destinations] == [Profile.OHIF, Profile.AIR]
    assert settings.results.profile is Profile.OHIF


@pytest.mark.parametrize("name", ["MEDSEG_NODE__NODE", "MEDSEG_NODE__ARCHIVES__0__HOST", "MEDSEG_NODE__ARCHIVES"])
def test_a_variable_that_names_no_setting_is_refused_by_name(name: str) -> None:
    with pytest.raises(SettingsError, match=name):
        load_settings(None, {name: "x"})


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"none\.toml: cannot be read .* --config"):
        load_settings(tmp_path / "none.toml", {})


def test_settings_cannot_be_changed_and_do_not_show_passwords() -> None:
    settings = load_settings(None, {"MEDSEG_NODE__DATABASE__URL": "postgresql+psycopg://medseg:hunter2@db/medseg"})
    with pytest.raises(ValidationError):
        settings.node.port = 1  # type: ignore[misc]
    assert "hunter2" not in repr(settings)
    with pytest.raises(SettingsError) as raised:
        load_settings(None, {"MEDSEG_NODE__DATABASE__URLS": "postgresql+psycopg://medseg:hunter2@db/medseg"})
    assert "hunter2" not in str(raised.value)


def sections(of: type[BaseModel] = Settings, within: str = "") -> Iterator[tuple[str, type[BaseModel], list[str]]]:
    """Each section with its settings; sections within sections too, as `web.oidc`."""
    for name, field in of.model_fields.items():
        kind: Any = next(iter(get_args(field.annotation)), field.annotation)
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            inner = list(sections(kind, f"{within}{name}."))
            named = {section.split(".")[-1] for section, _, _ in inner}
            yield f"{within}{name}", kind, [key for key in kind.model_fields if key not in named]
            yield from inner


def test_every_setting_is_described() -> None:
    undescribed = [
        f"{section}.{key}"
        for section, kind, keys in sections()
        for key in keys
        if not kind.model_fields[key].description
    ]
    assert not undescribed


def test_the_example_shows_every_setting_with_a_comment_and_loads(checkout: Path, tmp_path: Path) -> None:
    lines = (checkout / EXAMPLE).read_text().splitlines()
    taken_up = [line.removeprefix("#") if re.match(r"#[\[\w]", line) else line for line in lines]
    shown: set[tuple[str, str]] = set()
    section = ""
    for before, line in zip(["", *taken_up], taken_up, strict=False):
        if header := re.match(r"\[+([\w.]+)\]+$", line):
            section = header[1]
        elif setting := re.match(r"(\w+) = ", line):
            shown.add((section, setting[1]))
            assert before.startswith("# "), f"{section}.{setting[1]} has no comment"
    assert shown == {(name, key) for name, _, keys in sections() for key in keys}
    (tmp_path / "all.toml").write_text("\n".join(taken_up))
    assert [archive.name for archive in load_settings(tmp_path / "all.toml", {}).destinations] == ["pacs"]


def test_a_copy_of_the_example_is_the_defaults_with_its_data_beside_it(checkout: Path, tmp_path: Path) -> None:
    shutil.copy(checkout / EXAMPLE, tmp_path / "node.toml")
    settings, defaults = load_settings(tmp_path / "node.toml", {}), load_settings(None, {})
    assert settings.node.data_dir == tmp_path / "data"
    node = settings.node.model_copy(update={"data_dir": defaults.node.data_dir})
    assert settings.model_copy(update={"node": node}) == defaults


@pytest.mark.parametrize(
    ("peer", "needed"),
    [
        ('evidence = "c-find"\nhost = "ct1"', "host and port"),
        ('evidence = "c-find"\nport = 104', "host and port"),
        ('evidence = "qido"', "dicomweb_url"),
    ],
)
def test_a_source_that_is_to_be_asked_needs_an_address(tmp_path: Path, peer: str, needed: str) -> None:
    assert needed in mistakes(tmp_path, f'[[peers]]\nae_title = "CT1"\n{peer}\n')[0]


def test_a_section_within_a_section_is_set_by_file_and_variable(tmp_path: Path) -> None:
    written = '[web]\ncertificate = "tls/cert.pem"\nkey = "tls/key.pem"\n[web.oidc]\nclient_id = "a"\n'
    (tmp_path / "node.toml").write_text(written)
    variables = {"MEDSEG_NODE__WEB__OIDC__ISSUER": "https://login.invalid/x/", "MEDSEG_NODE__WEB__OIDC__VIEWERS": "a,b",
                 "MEDSEG_NODE__AUDIT__SYSLOG__PORT": "6515", "MEDSEG_NODE__WEB__PORT": "8443"}  # fmt: skip
    web = load_settings(tmp_path / "node.toml", variables).web
    assert (web.oidc.issuer, web.oidc.client_id, web.oidc.viewers) == ("https://login.invalid/x", "a", ("a", "b"))
    assert web.certificate == tmp_path / "tls" / "cert.pem" and web.port == 8443
    assert load_settings(None, variables).audit.syslog.port == 6515


@pytest.mark.parametrize(
    ("text", "variables", "told"),
    [
        ('[web]\nport = 1\n[web.oidc]\nissuers = "x"\n', {},
         "node.toml:4: [web.oidc] issuers is no setting; did you mean 'issuer'?"),
        ('[web.oidc]\nissuer = "ftp://x"\n', {}, "node.toml:2: [web.oidc] issuer: begins with none of"),
        ("", {"MEDSEG_NODE__WEB__OIDC__ISSUER": "ftp://x"}, "__WEB__OIDC__ISSUER: [web.oidc] issuer: begins with"),
        ("", {"MEDSEG_NODE__WEB__OIDC": "x"}, "MEDSEG_NODE__WEB__OIDC"),
        ("web = 1", {"MEDSEG_NODE__WEB__OIDC__ISSUER": "https://x"}, "names no setting"),
        ('[web]\nproxies = ["proxy.hospital"]\n', {}, "neither an address nor a network"),
        ('[web]\nbase_path = "/a b"\n', {}, "such as /medseg"),
    ],
)  # fmt: skip
def test_a_mistake_within_a_section_is_told_with_its_place(
    text: str, variables: dict[str, str], told: str, tmp_path: Path
) -> None:
    (tmp_path / "node.toml").write_text(text)
    with pytest.raises(SettingsError) as raised:
        load_settings(tmp_path / "node.toml", variables)
    assert told in str(raised.value)


def test_a_model_may_be_a_class_or_an_address_and_others_may_be_named(tmp_path: Path) -> None:
    (tmp_path / "node.toml").write_text(
        '[model]\ncheckpoint = "https://gpu.invalid:8090"\ntoken_file = "token"\n'
        '[[predictors]]\nname = "organs"\ncheckpoint = "package.module:Class"\n'
        '[[predictors]]\nname = "mine"\ncheckpoint = "weights"\nca_file = "ca.pem"\n'
    )
    settings = load_settings(tmp_path / "node.toml", {})
    assert settings.model.checkpoint == "https://gpu.invalid:8090"
    assert settings.model.access.token_file == tmp_path / "token"
    organs, mine = settings.predictors
    assert (organs.checkpoint, organs.access.token_file) == ("package.module:Class", None)
    assert (mine.checkpoint, mine.access.ca_file) == (str(tmp_path / "weights"), tmp_path / "ca.pem")
    with pytest.raises(SettingsError, match=r"two \[\[predictors\]\] have the same name"):
        load_settings(None, {"MEDSEG_NODE__PREDICTORS": '[{"name": "a"}, {"name": "a"}]'})
    with pytest.raises(SettingsError, match=r"predictors.* 1 name"):
        load_settings(None, {"MEDSEG_NODE__PREDICTORS": '[{"name": "a b"}]'})
