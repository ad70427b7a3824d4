"""docker-compose.yml: valid for Debian's docker-compose, its settings are settings of the node. No engine needed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.services import missing
from workflows.settings import load_settings
from workflows.web.exposure import require_protected

ROLES = {"scp", "worker-gpu", "worker-io", "scheduler", "web"}
needs_compose = pytest.mark.service("docker-compose")
PASSWORDS = dict.fromkeys(("POSTGRES_PASSWORD", "RABBITMQ_PASSWORD", "ORTHANC_PASSWORD"), "x")


def compose(checkout: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("docker-compose")
    if program is None:
        missing("docker-compose", "docker-compose")
    command = [program, "--env-file", ".env.example", "config"]
    environ = {"PATH": os.environ["PATH"], **environment}
    return subprocess.run(command, cwd=checkout, env=environ, capture_output=True, text=True, timeout=60)


@pytest.fixture(scope="module")
def services(checkout: Path) -> dict[str, Any]:
    done = compose(checkout, **PASSWORDS)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = yaml.safe_load(done.stdout)["services"]
    return found


@needs_compose
def test_every_role_and_service_is_there_and_comes_back_by_itself(services: dict[str, Any]) -> None:
    assert set(services) >= ROLES | {"orthanc", "rabbitmq", "postgres"}
    assert {service["restart"] for service in services.values()} == {"unless-stopped"}
    for name in ("orthanc", "rabbitmq", "postgres", "scp"):
        assert services[name]["healthcheck"]["test"], name
    for name in ROLES:
        command, test = services[name]["command"], services[name]["healthcheck"]["test"]
        role = command[command.index("--role") + 1] if "--role" in command else command[0]
        folder = services[name]["environment"]["MEDSEG_NODE__NODE__DATA_DIR"]
        assert test == ["CMD", "python", "-m", "workflows.roles.liveness", folder, role, "--end"]
    devices = services["worker-gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert devices[0]["capabilities"] == ["gpu"]


@needs_compose
@pytest.mark.parametrize("left_out", sorted(PASSWORDS))
def test_a_password_must_be_chosen(checkout: Path, left_out: str) -> None:
    done = compose(checkout, **{name: value for name, value in PASSWORDS.items() if name != left_out})
    assert done.returncode != 0 and "set it in .env" in done.stderr


def test_the_example_names_every_variable(checkout: Path) -> None:
    used = set(re.findall(r"\$\{([A-Z_]+)", (checkout / "docker-compose.yml").read_text()))
    named = set(re.findall(r"^([A-Z_]+)=", (checkout / ".env.example").read_text(), flags=re.MULTILINE))
    assert used == named


def test_no_password_stands_in_the_repository(checkout: Path) -> None:
    example = (checkout / ".env.example").read_text()
    assert re.findall(r"^\w+_PASSWORD=(.+)$", example, flags=re.MULTILINE) == []


@needs_compose
def test_each_role_gets_settings_that_the_node_takes_and_hosts_that_exist(
    checkout: Path, services: dict[str, Any]
) -> None:
    for name in sorted(ROLES):
        command, environment = services[name]["command"], services[name]["environment"]
        config = checkout / Path(command[command.index("--config") + 1]).relative_to("/opt/medseg-node")
        settings = load_settings(config, environment)
        assert [archive.host for archive in settings.destinations if archive.host in services] == ["orthanc"]
        for url in (settings.database_url, settings.broker_url):
            assert url.split("@")[1].split(":")[0] in services
        assert any(volume.startswith(f"node-data:{settings.node.data_dir}:") for volume in services[name]["volumes"])
        assert settings.node.allowed_calling_ae == ("ORTHANC",)
    (published,) = services["scp"]["ports"]
    assert published["target"] == settings.node.port
    web = load_settings(None, services["web"]["environment"]).web
    published_by = (checkout / "docker-compose.yml").read_text()
    assert f'"127.0.0.1:${{MEDSEG_WEB_PORT:-8080}}:{web.port}"' in published_by, "a proxy with TLS stands before it"
    require_protected(web)


@needs_compose
def test_what_is_built_can_be_built_from_the_checkout(checkout: Path, services: dict[str, Any]) -> None:
    for service in services.values():
        if "build" not in service:
            continue
        build = service["build"] if isinstance(service["build"], dict) else {"context": service["build"]}
        context = Path(build["context"])
        text = (context / build.get("dockerfile", "Dockerfile")).read_text()
        targets = re.findall(r"^FROM \S+ AS (\w+)$", text, flags=re.MULTILINE)
        assert build.get("target") is None or build["target"] in targets
        for line in re.findall(r"^COPY (?!--from=)(.+)$", text, flags=re.MULTILINE):
            assert all((context / source).exists() for source in line.split()[:-1]), line
    assert {"node", "gpu"} <= set(re.findall(r" AS (\w+)$", (checkout / "deploy/Dockerfile").read_text(), re.MULTILINE))


@needs_compose
def test_commands_are_commands_of_the_node(services: dict[str, Any]) -> None:
    cli = pytest.importorskip("workflows.commands.cli")
    known = {command.name or command.callback.__name__ for command in cli.app.registered_commands}
    assert {services[name]["command"][0] for name in ROLES} <= known
