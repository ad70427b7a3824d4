"""Real services for tests: Debian's Orthanc, RabbitMQ, PostgreSQL, rsyslog, each on loopback, in a folder of its own.

A missing program skips the test on a laptop and fails it where CI=true: see `missing`.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import psutil
import pytest

__all__ = [
    "Dcmqrscp",
    "Orthanc",
    "Postgres",
    "RabbitMQ",
    "Rsyslog",
    "Service",
    "await_true",
    "free_port",
    "listens",
    "missing",
    "running_dcmqrscp",
    "running_orthanc",
    "running_postgres",
    "running_rabbitmq",
    "running_rsyslog",
]

_START_S = 60.0
_PORTS = range(20000, 32000)
_RANGES = 8
_CHANCE = random.SystemRandom()
_RABBITMQ_BIN = Path("/usr/lib/rabbitmq/bin")
_ORTHANC_PLUGINS = Path("/usr/share/orthanc/plugins")


def missing(what: str, package: str) -> NoReturn:
    """Skip with the reason and the remedy, or fail where CI=true."""
    reason = f"{what} is not there: make test installs it (Debian package {package})"
    if os.environ.get("CI", "").lower() == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def free_port() -> int:
    """A TCP port on loopback that nobody listens on.

    Below those that connections go out from, and for each process of the tests from a range of its own: between
    this answer and its use nobody else gets it.
    """
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _RANGES
    while True:
        port = _CHANCE.randrange(_PORTS.start + number, _PORTS.stop, _RANGES)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port


def await_true(condition: Callable[[], Any], what: str, timeout_s: float = 30.0, pause_s: float = 0.05) -> Any:
    """The first truthy value of `condition`, looked at every `pause_s`; AssertionError naming `what` if none comes."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not happen within {timeout_s:g} s")
        time.sleep(pause_s)
    return value


def listens(port: int) -> bool:
    """Whether somebody takes connections on this port of loopback."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def _which(name: str, folders: Sequence[Path] = ()) -> str | None:
    # Not PATH alone: Debian keeps servers in /usr/sbin, and a virtual environment must not hide them.
    path = os.pathsep.join([*map(str, folders), "/usr/sbin", "/usr/bin", os.environ.get("PATH", "")])
    return shutil.which(name, path=path)


@dataclass
class Service:
    """A program that answers once `ready`; its output stands in `folder`/output.log. It can be stopped and frozen."""

    command: Sequence[str]
    folder: Path
    ready: Callable[[], bool]
    stop_signal: signal.Signals
    popen: dict[str, Any]
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it is ready; where it ran before, with what it kept."""
        log = self.folder / "output.log"
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, cwd=self.folder,
                start_new_session=True, **self.popen,
            )  # fmt: skip
        deadline = time.monotonic() + _START_S
        while not self.ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                tail = log.read_text(errors="replace")[-3000:]
                raise RuntimeError(f"{self.command[0]} did not start (exit status {self.process.poll()}):\n{tail}")
            time.sleep(0.05)

    def stop(self) -> None:
        """End it; what it keeps stays."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(self.stop_signal)
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End it and its children as a power cut does."""
        self._signal(signal.SIGKILL)
        assert self.process is not None
        self.process.wait()

    def freeze(self) -> None:
        """Let it answer nothing any more, with all its connections open."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        # Its children too, which may have sessions of their own, as PostgreSQL's have.
        parent = psutil.Process(self.process.pid)
        for process in (parent, *parent.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)


@contextlib.contextmanager
def _running(
    command: Sequence[str], folder: Path, ready: Callable[[], bool], stop: signal.Signals, **popen: Any
) -> Iterator[Service]:
    """A program that runs as long as the block."""
    service = Service(command, folder, ready, stop, popen)
    try:
        service.start()
        yield service
    finally:
        service.stop()


# --- Orthanc ----------------------------------------------------------------------------------------------------------


@dataclass
class Orthanc:
    """A running Orthanc. `url` is its REST interface, `url`/dicom-web its DICOMweb root."""

    ae_title: str
    host: str
    dicom_port: int
    http_port: int
    folder: Path
    service: Service = field(init=False, repr=False, compare=False)

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.http_port}"

    def get(self, path: str) -> Any:
        """What GET `path` answers, parsed from JSON."""
        return json.loads(self.get_bytes(path))

    def get_bytes(self, path: str) -> bytes:
        """What GET `path` answers, e.g. /instances/{id}/file."""
        with urllib.request.urlopen(self.url + path, timeout=60) as answer:
            content: bytes = answer.read()
            return content

    def post(self, path: str, body: bytes | Mapping[str, Any] | Sequence[Any]) -> Any:
        """POST bytes (an instance) or JSON; the answer parsed from JSON."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=content, method="POST")
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read() or b"null")

    def find_instances(self, **query: str) -> list[str]:
        """Orthanc's own ids of the instances that match, e.g. Modality="SEG"."""
        found: list[str] = self.post("/tools/find", {"Level": "Instance", "Query": query})
        return found

    def log(self) -> str:
        """What it wrote so far."""
        return (self.folder / "output.log").read_text(errors="replace")


@contextlib.contextmanager
def running_orthanc(
    *,
    ae_title: str = "ORTHANC",
    lua: Sequence[Path] = (),
    modalities: Mapping[str, Sequence[Any]] | None = None,
    extra: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Orthanc]:
    """Debian's Orthanc with its DICOMweb plugin.

    `modalities`: `{"medseg-node": ["MEDSEG", "127.0.0.1", 11112]}`; `extra`: keys of its configuration, which win.
    """
    program = _which("Orthanc")
    if program is None:
        missing("Orthanc", "orthanc")
    plugin = _ORTHANC_PLUGINS / "libOrthancDicomWeb.so"
    if not plugin.exists():
        missing("Orthanc's DICOMweb plugin", "orthanc-dicomweb")
    with tempfile.TemporaryDirectory(prefix="medseg-orthanc-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        node = Orthanc(ae_title, "127.0.0.1", free_port(), free_port(), folder)
        configuration: dict[str, Any] = {
            "Name": "medseg-test",
            "StorageDirectory": str(folder / "storage"),
            "IndexDirectory": str(folder / "storage"),
            "Plugins": [str(plugin)],
            "DicomAet": ae_title,
            "DicomPort": node.dicom_port,
            "HttpPort": node.http_port,
            "HttpBindAddresses": ["127.0.0.1"],
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "DicomAlwaysAllowStore": True,
            "DicomCheckCalledAet": False,
            "StableAge": 1,
            "OverwriteInstances": False,
            "LuaScripts": [str(path.resolve()) for path in lua],
            "DicomModalities": {key: list(value) for key, value in (modalities or {}).items()},
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
            **(extra or {}),
        }
        (folder / "orthanc.json").write_text(json.dumps(configuration, indent=2))

        def ready() -> bool:
            with contextlib.suppress(OSError, http.client.HTTPException):
                return bool(node.get("/system")) and listens(node.dicom_port)
            return False

        command = [program, str(folder / "orthanc.json")]
        with _running(command, folder, ready, signal.SIGTERM, env={**os.environ, **(environment or {})}) as service:
            node.service = service
            yield node


# --- DCMTK's archive --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Dcmqrscp:
    """A running dcmqrscp: stores, and answers C-FIND, C-GET and C-MOVE."""

    ae_title: str
    host: str
    port: int
    folder: Path


@contextlib.contextmanager
def running_dcmqrscp(destinations: Mapping[str, int] | None = None) -> Iterator[Dcmqrscp]:
    """DCMTK's dcmqrscp, empty. `destinations`: AE titles on loopback that it may move to, with their ports."""
    program = _which("dcmqrscp")
    if program is None:
        missing("dcmqrscp", "dcmtk")
    with tempfile.TemporaryDirectory(prefix="medseg-dcmqrscp-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        archive = Dcmqrscp("DCMQRSCP", "127.0.0.1", free_port(), folder / "instances")
        archive.folder.mkdir()
        hosts = [f"{title.lower()} = ({title}, 127.0.0.1, {port})" for title, port in (destinations or {}).items()]
        lines = [
            f"NetworkTCPPort = {archive.port}",
            "MaxPDUSize = 131072",
            "MaxAssociations = 16",
            "HostTable BEGIN",
            *hosts,
            "HostTable END",
            "VendorTable BEGIN",
            "VendorTable END",
            "AETable BEGIN",
            f"{archive.ae_title} {archive.folder} RW (200, 1024mb) ANY",
            "AETable END",
        ]
        (folder / "dcmqrscp.cfg").write_text("\n".join(lines) + "\n")
        # Beside uncompressed transfer syntaxes it takes one kind of compressed ones: JPEG 2000.
        command = [program, "+xw", "-c", str(folder / "dcmqrscp.cfg")]
        environment = {**os.environ, "TCP_NODELAY": "1"}
        with _running(command, folder, lambda: listens(archive.port), signal.SIGTERM, env=environment):
            yield archive


# --- RabbitMQ ---------------------------------------------------------------------------------------------------------


@dataclass
class RabbitMQ:
    """A running RabbitMQ. `url` names its default virtual host; tests that need clean queues take a fresh one."""

    host: str
    port: int
    environment: Mapping[str, str] = field(repr=False)
    service: Service = field(init=False, repr=False, compare=False)

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@{self.host}:{self.port}//"

    def fresh_url(self) -> str:
        """URL of a virtual host that nobody used before."""
        virtual_host = f"test-{uuid.uuid4().hex[:12]}"
        self.control("add_vhost", virtual_host)
        self.control("set_permissions", "-p", virtual_host, "guest", ".*", ".*", ".*")
        return f"amqp://guest:guest@{self.host}:{self.port}/{virtual_host}"

    def control(self, *arguments: str) -> str:
        """Run rabbitmqctl."""
        command = [str(_RABBITMQ_BIN / "rabbitmqctl"), "--quiet", *arguments]
        done = subprocess.run(command, env=dict(self.environment), capture_output=True, text=True, timeout=60)
        if done.returncode:
            raise RuntimeError(f"rabbitmqctl {' '.join(arguments)}: {done.stderr or done.stdout}")
        return done.stdout


@contextlib.contextmanager
def running_rabbitmq() -> Iterator[RabbitMQ]:
    """Debian's RabbitMQ as the current user, beside any that the machine runs: own name, ports, cookie and epmd."""
    # Debian's wrapper in /usr/sbin insists on its own user; the script behind it does not.
    program = _RABBITMQ_BIN / "rabbitmq-server"
    if not program.exists() or _which("epmd") is None:
        missing("RabbitMQ", "rabbitmq-server")
    with tempfile.TemporaryDirectory(prefix="medseg-rabbitmq-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        port = free_port()
        (folder / "rabbitmq.conf").write_text("loopback_users = none\n")
        (folder / "plugins").write_text("[].\n")
        cookie = folder / ".erlang.cookie"
        cookie.write_text(base64.b32encode(os.urandom(15)).decode())
        cookie.chmod(0o400)
        environment = {
            "PATH": f"{_RABBITMQ_BIN}:/usr/sbin:/usr/bin:/sbin:/bin",
            "LANG": "C.UTF-8",
            "HOME": str(folder),
            "ERL_EPMD_PORT": str(free_port()),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"medseg-{uuid.uuid4().hex[:8]}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(port),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "none"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            # Two schedulers instead of one for each core; Erlang's busy waiting would eat the tests' own time.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none",
        }
        try:
            with _running([str(program)], folder, lambda: listens(port), signal.SIGTERM, env=environment) as service:
                broker = RabbitMQ("127.0.0.1", port, environment)
                broker.service = service
                yield broker
        finally:
            epmd = _which("epmd")
            assert epmd is not None
            subprocess.run([epmd, "-kill"], env=environment, capture_output=True, timeout=20, check=False)


# --- rsyslog ----------------------------------------------------------------------------------------------------------


@dataclass
class Rsyslog:
    """A running rsyslog that takes RFC 5425 over TLS, and asks for a certificate; the files are PEM."""

    host: str
    port: int
    folder: Path
    service: Service = field(init=False, repr=False, compare=False)

    @property
    def ca(self) -> Path:
        return self.folder / "ca.pem"

    @property
    def certificate(self) -> Path:
        return self.folder / "client.pem"

    @property
    def key(self) -> Path:
        return self.folder / "client.key"

    def messages(self) -> list[str]:
        """What it took so far, a message a line, with its header."""
        taken = self.folder / "taken.log"
        return taken.read_text(encoding="utf-8").splitlines() if taken.exists() else []


@contextlib.contextmanager
def running_rsyslog() -> Iterator[Rsyslog]:
    """Debian's rsyslog with GnuTLS, and certificates of an authority of its own for it and for who sends."""
    program, openssl = _which("rsyslogd"), _which("openssl")
    if program is None or not list(Path("/usr/lib").glob("*/rsyslog/lmnsd_gtls.so")):
        missing("rsyslog with TLS", "rsyslog-gnutls")
    if openssl is None:
        missing("openssl", "openssl")
    with tempfile.TemporaryDirectory(prefix="medseg-rsyslog-", ignore_cleanup_errors=True) as name:
        receiver = Rsyslog("127.0.0.1", free_port(), Path(name))
        _certificates(openssl, receiver.folder)
        configuration = f"""
global(workDirectory="{name}" maxMessageSize="64k" defaultNetstreamDriver="gtls"
       defaultNetstreamDriverCAFile="{name}/ca.pem"
       defaultNetstreamDriverCertFile="{name}/server.pem" defaultNetstreamDriverKeyFile="{name}/server.key")
module(load="imtcp" streamDriver.name="gtls" streamDriver.mode="1" streamDriver.authMode="x509/certvalid")
template(name="whole" type="string" string="%rawmsg%\n")
input(type="imtcp" address="{receiver.host}" port="{receiver.port}")
action(type="omfile" file="{name}/taken.log" template="whole")
"""
        (receiver.folder / "rsyslog.conf").write_text(configuration)
        command = [program, "-n", "-f", f"{name}/rsyslog.conf", "-i", f"{name}/pid"]
        with _running(command, receiver.folder, lambda: listens(receiver.port), signal.SIGTERM) as service:
            receiver.service = service
            yield receiver


def _certificates(openssl: str, folder: Path) -> None:
    """An authority, and a certificate by it for a server on loopback and one for who connects."""
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-x509"]
    by_ca = ["-CA", "ca.pem", "-CAkey", "ca.key"]
    made = {
        "ca": ["-subj", "/CN=authority of a test"],
        "server": ["-subj", "/CN=receiver of a test", "-addext", "subjectAltName=IP:127.0.0.1", *by_ca],
        "client": ["-subj", "/CN=node", "-addext", "extendedKeyUsage=clientAuth", *by_ca],
    }
    for name, more in made.items():
        command = [openssl, "req", *key, "-keyout", f"{name}.key", "-out", f"{name}.pem", *more]
        subprocess.run(command, check=True, capture_output=True, cwd=folder, timeout=60)


# --- PostgreSQL -------------------------------------------------------------------------------------------------------


@dataclass
class Postgres:
    """A running PostgreSQL. `url` is an SQLAlchemy URL."""

    host: str
    port: int
    service: Service = field(init=False, repr=False, compare=False)

    @property
    def url(self) -> str:
        return self._url("postgres")

    def fresh_url(self, template: str = "template1") -> str:
        """URL of a database of one's own: empty, or as `template` is, which nobody is connected to."""
        import psycopg

        name = f"test_{uuid.uuid4().hex[:12]}"
        with psycopg.connect(
            host=self.host, port=self.port, user="medseg", dbname="postgres", autocommit=True
        ) as connection:
            connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')  # type: ignore[arg-type]
        return self._url(name)

    def _url(self, database: str) -> str:
        return f"postgresql+psycopg://medseg@{self.host}:{self.port}/{database}"


@contextlib.contextmanager
def running_postgres(*, durable: bool = False) -> Iterator[Postgres]:
    """Debian's PostgreSQL with a fresh cluster; as the user postgres where we are root, which it refuses to run as.

    `durable`: commits are synced, as an administrator would run it; tests are quicker without.
    """
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), reverse=True)
    initdb, program = _which("initdb", folders), _which("postgres", folders)
    if initdb is None or program is None:
        missing("PostgreSQL", "postgresql")
    owner: dict[str, Any] = {"user": "postgres", "group": "postgres"} if os.geteuid() == 0 else {}
    # Not pytest's folder: that one is closed to other users.
    with tempfile.TemporaryDirectory(prefix="medseg-postgres-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        if owner:
            shutil.chown(folder, **owner)
        cluster, port = folder / "cluster", free_port()
        command = [initdb, "-D", str(cluster), "-U", "medseg", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
        subprocess.run(command, check=True, capture_output=True, cwd=folder, timeout=120, **owner)
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(port),
            "unix_socket_directories": str(folder),
            **({} if durable else dict.fromkeys(("fsync", "synchronous_commit", "full_page_writes"), "off")),
        }
        options = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]

        def ready() -> bool:
            import psycopg

            with contextlib.suppress(psycopg.OperationalError):
                psycopg.connect(host="127.0.0.1", port=port, user="medseg", dbname="postgres").close()
                return True
            return False

        with _running([program, "-D", str(cluster), *options], folder, ready, signal.SIGINT, **owner) as service:
            database = Postgres("127.0.0.1", port)
            database.service = service
            yield database
