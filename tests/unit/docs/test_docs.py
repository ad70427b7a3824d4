"""The documents are true: trees, commands, settings, links and public names are those of the code."""

from __future__ import annotations

import importlib
import importlib.util
import os
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import get_args

import pytest
from pydantic import BaseModel
from pynetdicom import AE

from dicom_node.network.contexts import MOST_CONTEXTS
from dicom_node.network.storage_scu import Timeouts
from workflows.settings import NodeSettings
from workflows.steps.route import Sender

PACKAGES = ("dicom_node", "inference", "workflows")
CHECKOUT = Path(__file__).resolve().parents[3]


def document(name: str) -> str:
    """A document's text; a missing one skips at home and fails where CI=true."""
    path = CHECKOUT / name
    if not path.exists():
        if os.environ.get("CI", "").lower() == "true":
            pytest.fail(f"{name} is missing")
        pytest.skip(f"{name} is not written yet")
    return path.read_text(encoding="utf-8")


def documents() -> list[Path]:
    return [*sorted(CHECKOUT.glob("*.md")), *sorted((CHECKOUT / "docs").glob("**/*.md"))]


def everything_written() -> str:
    document("README.md")
    return "\n".join(path.read_text(encoding="utf-8") for path in documents())


def tree(text: str) -> set[str]:
    """Paths named by the trees of a document: fenced blocks in which a package stands alone at the start of a line.

    Names end where two spaces begin the description; several may share a line; indentation or box characters nest.
    """
    paths: set[str] = set()
    for block in re.findall(r"^```\w*\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL):
        if not re.search(r"^[│├└─ ]*(dicom_node|inference|workflows)/( |$)", block, flags=re.MULTILINE):
            continue
        parents: list[tuple[int, str]] = []
        for line in re.sub("[│├└─]", " ", block).splitlines():
            indent = len(line) - len(line.lstrip())
            names = re.split(r"\s{2,}|\s+#", line.strip())[0].split()
            if not names or not re.match(r"[\w.-]+(/|\.\w+|$)", names[0]):
                continue
            while parents and parents[-1][0] >= indent:
                parents.pop()
            above = parents[-1][1] if parents else ""
            paths |= {above + name for name in names}
            if names[0].endswith("/"):
                parents.append((indent, above + names[0]))
    # The checkout's own name at the root of a tree is no folder in it.
    return {path for path in paths if path.split("/")[0] not in ("medseg-node", "")}


def test_the_tree_names_only_what_there_is() -> None:
    named = tree(document("ARCHITECTURE.md")) | tree(document("README.md"))
    assert named, "no tree found: a fenced block with dicom_node/, inference/ and workflows/"
    assert [path for path in sorted(named) if not (CHECKOUT / path).exists()] == []


def test_the_tree_names_every_module_or_its_folder() -> None:
    named = {path.rstrip("/") for path in tree(document("ARCHITECTURE.md"))}
    modules = [path.relative_to(CHECKOUT) for package in PACKAGES for path in (CHECKOUT / package).rglob("*.py")]
    unnamed = [
        str(module)
        for module in sorted(modules)
        if module.name != "__init__.py"
        and str(module) not in named
        and not any(str(parent) in named for parent in module.parents if len(parent.parts) > 1)
    ]
    assert unnamed == []


def commands() -> Iterator[str]:
    cli = importlib.import_module("workflows.commands.cli")
    for command in cli.app.registered_commands:
        yield command.name or command.callback.__name__
    for group in cli.app.registered_groups:
        for command in group.typer_instance.registered_commands:
            yield f"{group.name} {command.name or command.callback.__name__}"


def test_every_command_is_documented() -> None:
    written = everything_written()
    assert [name for name in commands() if f"medseg-node {name}" not in written] == []


def test_every_documented_command_exists() -> None:
    known = {name.split()[0] for name in commands()}
    named = set(re.findall(r"(?:^|`|\s|/)medseg-node ([a-z]+)\b", everything_written(), flags=re.MULTILINE))
    # "medseg-node" is also the name of folders and of the distribution; only code speaks of commands.
    code = "\n".join(re.findall(r"`[^`\n]+`|^```.*?^```", everything_written(), flags=re.MULTILINE | re.DOTALL))
    in_code = {name for name in named if f"medseg-node {name}" in code}
    assert in_code <= known


def test_the_page_of_settings_is_what_the_code_says() -> None:
    spec = importlib.util.spec_from_file_location("settings_page", Path(__file__).with_name("settings_page.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    remedy = "refresh it: python tests/unit/docs/settings_page.py > docs/settings.md"
    assert document("docs/settings.md") == module.page(), remedy


def test_the_conformance_statement_has_the_numbers_of_the_code() -> None:
    node, sends, entity = NodeSettings(), Timeouts(), AE("ANY")
    written = document("CONFORMANCE.md")
    for row in (
        f"| {node.maximum_associations} (`maximum_associations`);",
        f"| {node.maximum_pdu_bytes} bytes (`maximum_pdu_bytes`) | {entity.maximum_pdu_size} bytes |",
        f"| wait for the connection | | {sends.connection_s:g} s |",
        f"| {node.acse_timeout_s:g} s (`acse_timeout_s`) | {sends.acse_s:g} s |",
        f"| {node.dimse_timeout_s:g} s (`dimse_timeout_s`) | {sends.dimse_s:g} s |",
        f"| {node.network_timeout_s:g} s (`network_timeout_s`) | {sends.network_s:g} s |",
        f"| {MOST_CONTEXTS} at most",
        f"Implementation Class UID {entity.implementation_class_uid}, Version Name",
        f"Version Name {entity.implementation_version_name}.",
        f"at most {Sender('').longest_wait_s:g} s",
    ):
        assert row in written.replace("\n", " "), row


def settings_of(owner: type[BaseModel], within: str = "") -> Iterator[tuple[str, str]]:
    """Section and key of every setting; sections within sections as `web.oidc`."""
    for name, field in owner.model_fields.items():
        kind = next(iter(get_args(field.annotation)), field.annotation)
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from settings_of(kind, f"{within}.{name}".lstrip("."))
        yield within, name


def test_every_setting_named_exists() -> None:
    known = set(settings_of(importlib.import_module("workflows.settings").Settings))
    named = set(re.findall(r"`\[+([\w.]+)\]+ (\w+)", everything_written()))
    named |= {
        (".".join(sections.rstrip("_").lower().split("__")), key.lower())
        for sections, key in re.findall(r"MEDSEG_NODE__((?:[A-Z]+__)+)([A-Z_]*[A-Z])", everything_written())
    }
    assert named - {("section", "key")} - known == set()
    assert len(named) > 5


def test_every_make_target_named_exists() -> None:
    code = re.findall(r"`make ([a-z-]+)`|^ *(?:\$ )?make ([a-z-]+)", everything_written(), flags=re.MULTILINE)
    named = {name for pair in code for name in pair if name}
    targets = set(re.findall(r"^([a-z-]+):", (CHECKOUT / "Makefile").read_text(), flags=re.MULTILINE))
    assert named <= targets


@pytest.mark.parametrize("path", documents(), ids=lambda path: str(path.relative_to(CHECKOUT)))
def test_links_within_the_checkout_lead_somewhere(path: Path) -> None:
    links = re.findall(r"\]\(([^)\s#]+)", path.read_text(encoding="utf-8"))
    local = [link for link in links if "://" not in link and not link.startswith("mailto:")]
    assert [link for link in local if not (path.parent / link).exists()] == []


def modules() -> list[str]:
    names = []
    for package in PACKAGES:
        for found in pkgutil.walk_packages([str(CHECKOUT / package)], f"{package}."):
            # Alembic runs these itself; importing them outside of a migration fails.
            if ".migrations" not in found.name:
                names.append(found.name)
    return names


@pytest.mark.parametrize("name", modules())
def test_public_names_exist(name: str) -> None:
    module: ModuleType = importlib.import_module(name)
    public = getattr(module, "__all__", [])
    assert [attribute for attribute in public if not hasattr(module, attribute)] == []
    assert sorted(set(public)) == sorted(public)
