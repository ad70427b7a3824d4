"""Settings: typed, described, frozen, read once and passed down. The only reader of environment and files."""

from __future__ import annotations

import difflib
import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from dicom_node.results.finding import Profile
from workflows.errors import SettingsError

__all__ = [
    "COMMISSIONING", "ArchiveSettings", "BrokerSettings", "DatabaseSettings", "ModelSettings", "NodeSettings",
    "PeerSettings", "ProtocolsSettings", "ResultsSettings", "Settings", "load_settings",
]  # fmt: skip

COMMISSIONING = "commissioning"
SHIPPED = "tiny"  # the checkpoint that comes with the node, as inference.open knows it
PREFIX = "MEDSEG_NODE__"
CHECKOUT = Path(__file__).resolve().parent.parent
PROTOCOLS = CHECKOUT / "deploy" / "protocols"


def _ae_title(value: str) -> str:
    # PS3.5 6.2, VR AE: spaces at either end mean nothing; no backslash, no control characters, not only spaces.
    title = value.strip(" ")
    if not title or len(title) > 16 or "\\" in title or not title.isascii() or not title.isprintable():
        raise ValueError("an AE title has 1 to 16 printable ASCII characters and no backslash")
    return title


def _listed(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _of_scheme(url: str, *schemes: str) -> str:
    if url and url.partition("://")[0] not in schemes:
        raise ValueError(f"begins with none of {', '.join(f'{scheme}://' for scheme in schemes)}")
    return url


def _named(value: object) -> object:
    if value == "":
        raise ValueError("name a folder")
    return value


AETitle = Annotated[str, AfterValidator(_ae_title)]
Folder = Annotated[Path, AfterValidator(lambda path: Path(os.path.abspath(path.expanduser())))]


class _Section(BaseModel):
    # Without the input in errors: a URL may hold a password.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class NodeSettings(_Section):
    """[node]: the DICOM side and where everything is kept."""

    ae_title: AETitle = Field(default="MEDSEG", description="AE title of the node.")
    host: str = Field(default="127.0.0.1", description="Address the storage SCP listens on.")
    port: int = Field(default=11112, ge=0, le=65535, description="Port the storage SCP listens on; 0 takes a free one.")
    data_dir: Annotated[Folder, BeforeValidator(_named)] = Field(
        default=Path("data"),
        validate_default=True,
        description="Folder for instances, results, database and queue, beside the file; mode 0700.",
    )
    allowed_calling_ae: Annotated[tuple[AETitle, ...], BeforeValidator(_listed)] = Field(
        default=(), description="Calling AE titles allowed; empty allows all."
    )
    quiet_period_s: float = Field(
        default=60.0, gt=0, description="Seconds without a new instance that complete a study."
    )
    maximum_associations: int = Field(default=32, ge=1, description="Associations served at once.")
    acse_timeout_s: float = Field(default=30.0, gt=0, description="Seconds to wait for association messages.")
    dimse_timeout_s: float = Field(default=60.0, gt=0, description="Seconds to wait for the next DIMSE message.")
    network_timeout_s: float = Field(default=120.0, gt=0, description="Seconds without any traffic; then we hang up.")
    maximum_pdu_bytes: int = Field(default=131072, ge=4096, description="Largest PDU that peers may send, in bytes.")
    minimum_free_mb: int = Field(
        default=512, ge=0, description="Below this much free room instances are refused (0xA700)."
    )
    lease_s: float = Field(
        default=60.0, gt=0, description="Seconds after which a silent worker's job is taken up again."
    )
    scheduler_interval_s: float = Field(default=1.0, gt=0, description="Seconds between two looks at what is due.")
    rewake_s: float = Field(default=30.0, gt=0, description="Seconds after which an unanswered wake-up is repeated.")
    maximum_attempts: int = Field(default=3, ge=1, description="Workers that may die on one job before it fails.")
    log_format: Literal["auto", "console", "json"] = Field(default="auto", description="auto: readable on a terminal.")


class PeerSettings(_Section):
    """[[peers]]: what is special about one source."""

    ae_title: AETitle = Field(description="Calling AE title of the source.")
    quiet_period_s: float | None = Field(default=None, gt=0, description="Its own quiet period in seconds.")


class DatabaseSettings(_Section):
    """[database]: the truth."""

    url: str = Field(default="", repr=False, description="SQLAlchemy URL; empty: SQLite under data_dir.")

    @field_validator("url")
    @classmethod
    def _known(cls, value: str) -> str:
        return _of_scheme(value, "sqlite", "postgresql", "postgresql+psycopg")


class BrokerSettings(_Section):
    """[broker]: the wake-up."""

    url: str = Field(default="", repr=False, description="amqp://... for RabbitMQ; empty: folders under data_dir.")

    @field_validator("url")
    @classmethod
    def _known(cls, value: str) -> str:
        if value.startswith("filesystem://") and not value.startswith("filesystem:///"):
            raise ValueError("write filesystem:///FOLDER, the whole path")
        return _of_scheme(value, "amqp", "amqps", "filesystem")


class ArchiveSettings(_Section):
    """[[archives]]: where results may go."""

    name: str = Field(min_length=1, description="Name that [results] archive refers to.")
    ae_title: AETitle = Field(description="AE title of the archive.")
    host: str = Field(description="Its address.")
    port: int = Field(ge=1, le=65535, description="Its port.")


class ResultsSettings(_Section):
    """[results]: where SEG and SR go, and in which shape."""

    archive: str = Field(
        default="", description="Name of the archive that gets the results; empty: the only one there is."
    )
    profile: Profile = Field(default=Profile.AIR, description="Viewer the results are shaped for: air or ohif.")


class ProtocolsSettings(_Section):
    """[protocols]: which questions are asked of which series."""

    directory: Annotated[Folder, BeforeValidator(lambda written: written or PROTOCOLS)] = Field(
        default=PROTOCOLS, description="Folder of reading protocols (YAML); empty: those that come with the node."
    )


class ModelSettings(_Section):
    """[model]: who answers."""

    checkpoint: str = Field(
        default=SHIPPED,
        description="`tiny` (the shipped weights), `commissioning`, or a checkpoint folder.",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="Where the model runs.")
    accept_research_use: bool = Field(default=False, description="Accept weights whose terms allow research only.")

    @field_validator("checkpoint")
    @classmethod
    def _absolute(cls, value: str) -> str:
        if not value:
            raise ValueError(f"name a folder, or {SHIPPED}, or {COMMISSIONING}")
        return value if value in (SHIPPED, COMMISSIONING) else os.path.abspath(Path(value).expanduser())


class Settings(_Section):
    """All settings of a node."""

    node: NodeSettings = Field(default_factory=NodeSettings)
    peers: tuple[PeerSettings, ...] = ()
    database: DatabaseSettings = Field(default_factory=DatabaseSettings)
    broker: BrokerSettings = Field(default_factory=BrokerSettings)
    archives: tuple[ArchiveSettings, ...] = ()
    results: ResultsSettings = Field(default_factory=ResultsSettings)
    protocols: ProtocolsSettings = Field(default_factory=ProtocolsSettings)
    model: ModelSettings = Field(default_factory=ModelSettings)

    @model_validator(mode="after")
    def _consistent(self) -> Settings:
        names = [archive.name for archive in self.archives]
        if len(set(names)) < len(names):
            raise ValueError(f"two [[archives]] have the same name: {names}")
        titles = [peer.ae_title for peer in self.peers]
        if len(set(titles)) < len(titles):
            raise ValueError(f"two [[peers]] have the same ae_title: {titles}")
        if self.results.archive and self.results.archive not in names:
            raise ValueError(f"[results] archive {self.results.archive!r} is none of [[archives]]: {names}")
        if not self.results.archive and len(names) > 1:
            raise ValueError(f"[results] archive must name one of {names}")
        return self

    @property
    def archive(self) -> ArchiveSettings | None:
        """The archive that gets the results, or None."""
        wanted = [entry for entry in self.archives if entry.name == self.results.archive or not self.results.archive]
        return wanted[0] if wanted else None

    @property
    def database_url(self) -> str:
        """SQLAlchemy URL of the database; may hold a password, so it is never logged."""
        return self.database.url or f"sqlite:///{self.node.data_dir / 'medseg-node.db'}"

    @property
    def broker_url(self) -> str:
        """Celery broker URL; may hold a password, so it is never logged."""
        return self.broker.url or f"filesystem://{self.node.data_dir / 'queue'}"


_Location = tuple[str | int, ...]
_PATHS: dict[tuple[str, str], tuple[str, ...]] = {  # settings that are paths, and what stands there without being one
    ("node", "data_dir"): ("",),
    ("protocols", "directory"): ("",),
    ("model", "checkpoint"): ("", SHIPPED, COMMISSIONING),
}
_LISTS = ("peers", "archives")


def load_settings(path: Path | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """Read the TOML file, lay the environment over it, and check the whole.

    MEDSEG_NODE__SECTION__KEY in `environ` (the process's own if None) overrides `[section] key`; MEDSEG_NODE__PEERS and
    MEDSEG_NODE__ARCHIVES give those lists as JSON. A relative path in the file, the default data_dir too, is relative
    to the file's folder; one in `environ`, and data_dir where there is no file, to the current directory.
    Raises SettingsError with every mistake: file and line, or the variable, then what to do.
    """
    text, values = _read(path) if path is not None else ("", {})
    mistakes, variables = _override(values, os.environ if environ is None else environ)
    settings = None
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        mistakes += _mistakes(error, path, text, variables)
    if settings is None or mistakes:
        raise SettingsError("\n".join(mistakes))
    return settings


def _read(path: Path) -> tuple[str, dict[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8")
        values = tomllib.loads(text)
    except OSError as error:
        why = f"{path}: cannot be read ({error.strerror}); give another file with --config"
        raise SettingsError(why) from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{path}: not TOML: {error}") from error
    _place(values, path.resolve().parent)
    return text, values


def _place(values: dict[str, Any], folder: Path) -> None:
    """Make the relative paths of a file's `values` absolute; they are relative to its `folder`."""
    node, database = values.setdefault("node", {}), values.get("database")
    if isinstance(node, dict):
        node.setdefault("data_dir", str(NodeSettings.model_fields["data_dir"].default))
    for (section, key), names in _PATHS.items():
        table = values.get(section)
        written = table.get(key) if isinstance(table, dict) else None
        if isinstance(table, dict) and isinstance(written, str) and written not in names:
            table[key] = str(folder / Path(written).expanduser())
    url = database.get("url") if isinstance(database, dict) else None
    if isinstance(database, dict) and isinstance(url, str) and url.startswith("sqlite:///"):
        file = url.removeprefix("sqlite:///")
        database["url"] = url if file in ("", ":memory:") else f"sqlite:///{folder / file}"


def _override(values: dict[str, Any], environ: Mapping[str, str]) -> tuple[list[str], dict[_Location, str]]:
    """Lay variables over `values`; return what is wrong with them, and which variable gave which setting."""
    mistakes: list[str] = []
    given: dict[_Location, str] = {}
    for name in sorted(name for name in environ if name.startswith(PREFIX)):
        section, _, key = name.removeprefix(PREFIX).lower().partition("__")
        if section in _LISTS and not key:
            try:
                values[section] = json.loads(environ[name])
                given[(section,)] = name
            except json.JSONDecodeError as error:
                mistakes.append(f"{name}: not JSON: {error}")
        elif section in _LISTS or not key or not isinstance(values.setdefault(section, {}), dict):
            mistakes.append(f"{name}: names no setting; {PREFIX}SECTION__KEY does, lists as JSON in {PREFIX}ARCHIVES")
        else:
            values[section][key] = _from_text(environ[name])
            given[(section, key)] = name
    return mistakes, given


def _from_text(text: str) -> Any:
    """A list written as JSON or TOML; else the text itself, from which pydantic makes numbers and truth values."""
    if text.lstrip().startswith("["):
        try:
            return tomllib.loads(f"list = {text}")["list"]
        except tomllib.TOMLDecodeError:
            return text
    return text


def _mistakes(
    error: ValidationError, path: Path | None, text: str, variables: Mapping[_Location, str]
) -> Iterator[str]:
    for one in error.errors(include_url=False):
        location: _Location = one["loc"]
        variable = next((variables[location[:n]] for n in range(1, 3) if location[:n] in variables), None)
        line = _line_of(text, location)
        where = variable or (f"{path}:{line}" if line else str(path or "settings"))
        name = _written(location)
        if one["type"] == "tuple_type" and name.startswith("[["):
            yield f"{where}: {location[0]} is a list: begin each entry with {name}, in two brackets"
        elif one["type"] == "extra_forbidden":
            yield f"{where}: {name} is no setting; {_near(location)}"
        elif one["type"] == "missing":
            yield f"{where}: {name} is missing"
        else:
            message = one["msg"].removeprefix("Value error, ")
            yield f"{where}: {name}: {message}" if name else f"{where}: {message}"


def _written(location: _Location) -> str:
    """A setting as a person writes it: `[node] port`, `[[archives]] 2 host`."""
    if not location:
        return ""
    section = f"[[{location[0]}]]" if location[0] in _LISTS else f"[{location[0]}]"
    return " ".join([section, *(str(part + 1) if isinstance(part, int) else part for part in location[1:])])


def _near(location: _Location) -> str:
    owner: Any = Settings
    for part in location[:-1]:
        if isinstance(part, str):
            kind = owner.model_fields[part].annotation
            owner = next(iter(get_args(kind)), kind)
    near = difflib.get_close_matches(str(location[-1]), owner.model_fields, 1)
    return f"did you mean {near[0]!r}?" if near else f"there are {', '.join(owner.model_fields)}"


def _line_of(text: str, location: _Location) -> int | None:
    """The line on which a setting stands, or at least its section's; tomllib keeps none."""
    if not location:
        return None
    section, key = str(location[0]), location[-1] if len(location) > 1 else None
    wanted = next((part for part in location if isinstance(part, int)), 0)
    current, count, section_line = "", -1, None
    for number, line in enumerate(text.splitlines(), start=1):
        if header := re.match(r"\s*\[+\s*([\w-]+)\s*\]+", line):
            current = header[1]
            count += current == section
            section_line = number if current == section and count == wanted else section_line
            continue
        written = re.match(r"\s*\"?([\w-]+)\"?\s*=", line)
        if written is None:
            continue
        here = current == section and count == wanted and written[1] == key
        if here or (not current and written[1] == section):
            return number
    return section_line
