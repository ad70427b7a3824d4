"""Settings: the only reader of environment and files. Typed, described, frozen, read once and passed down."""

from __future__ import annotations

import difflib
import os
import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from dicom_node.results.finding import Profile
from workflows.errors import SettingsError

__all__ = [
    "ArchiveSettings", "BrokerSettings", "DatabaseSettings", "ModelSettings", "NodeSettings", "PeerSettings",
    "ProtocolsSettings", "ResultsSettings", "Settings", "load_settings",
]  # fmt: skip

PREFIX = "MEDSEG_NODE__"
CHECKOUT = Path(__file__).resolve().parent.parent
AE_TITLE = r"^[!-\[\]-~][ -\[\]-~]{0,15}$"  # PS3.5 6.2: 16 characters, no backslash, no leading space


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class NodeSettings(_Section):
    """[node]: the DICOM side and where everything is kept."""

    ae_title: str = Field(default="MEDSEG", pattern=AE_TITLE, description="AE title of the node.")
    host: str = Field(default="127.0.0.1", description="Address the storage SCP listens on.")
    port: int = Field(default=11112, ge=0, le=65535, description="Port the storage SCP listens on; 0 takes a free one.")
    data_dir: Path = Field(
        default=Path("data"), description="Folder for instances, results, database and queue; mode 0700."
    )
    allowed_calling_ae: tuple[str, ...] = Field(default=(), description="Calling AE titles allowed; empty allows all.")
    quiet_period_s: float = Field(
        default=60.0, gt=0, description="Seconds without a new instance that complete a study."
    )
    maximum_associations: int = Field(default=32, ge=1, description="Associations served at once.")
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

    ae_title: str = Field(pattern=AE_TITLE, description="Calling AE title of the source.")
    quiet_period_s: float | None = Field(default=None, gt=0, description="Its own quiet period.")


class DatabaseSettings(_Section):
    """[database]"""

    url: str = Field(default="", description="SQLAlchemy URL; empty: SQLite under data_dir.")


class BrokerSettings(_Section):
    """[broker]"""

    url: str = Field(default="", description="amqp://... for RabbitMQ; empty: folders under data_dir.")


class ArchiveSettings(_Section):
    """[[archives]]: where results may go."""

    name: str = Field(min_length=1, description="Name that [results] archive refers to.")
    ae_title: str = Field(pattern=AE_TITLE, description="AE title of the archive.")
    host: str = Field(description="Its address.")
    port: int = Field(ge=1, le=65535, description="Its port.")


class ResultsSettings(_Section):
    """[results]"""

    archive: str = Field(
        default="", description="Name of the archive that gets the results; empty: the only one there is."
    )
    profile: Profile = Field(default=Profile.AIR, description="Viewer the results are shaped for: air or ohif.")


class ProtocolsSettings(_Section):
    """[protocols]"""

    directory: Path = Field(
        default=CHECKOUT / "deploy" / "protocols", description="Folder of reading protocols (YAML)."
    )


class ModelSettings(_Section):
    """[model]"""

    checkpoint: str = Field(
        default=str(CHECKOUT / "inference" / "weights" / "tiny"), description="A checkpoint folder, or `commissioning`."
    )
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="Where the model runs.")
    accept_research_use: bool = Field(default=False, description="Accept weights whose terms allow research only.")


class Settings(_Section):
    """All settings of a node."""

    node: NodeSettings = NodeSettings()
    peers: tuple[PeerSettings, ...] = ()
    database: DatabaseSettings = DatabaseSettings()
    broker: BrokerSettings = BrokerSettings()
    archives: tuple[ArchiveSettings, ...] = ()
    results: ResultsSettings = ResultsSettings()
    protocols: ProtocolsSettings = ProtocolsSettings()
    model: ModelSettings = ModelSettings()

    @model_validator(mode="after")
    def _known_archive(self) -> Settings:
        names = [archive.name for archive in self.archives]
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
        return self.database.url or f"sqlite:///{self.node.data_dir.resolve() / 'medseg-node.db'}"

    @property
    def broker_url(self) -> str:
        return self.broker.url or f"filesystem://{self.node.data_dir.resolve() / 'queue'}"


def load_settings(path: Path | None = None) -> Settings:
    """Read the TOML file, lay the environment over it, and check the whole.

    Raises SettingsError naming every wrong setting. MEDSEG_NODE__SECTION__KEY overrides `[section] key`.
    """
    values: dict[str, Any] = {}
    if path is not None:
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise SettingsError(
                f"{path}: cannot be read ({error.strerror}); give another file with --config"
            ) from error
        except tomllib.TOMLDecodeError as error:
            raise SettingsError(f"{path}: not TOML: {error}") from error
    for name, text in sorted(os.environ.items()):
        if name.startswith(PREFIX):
            _override(values, name, text)
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        where = str(path) if path is not None else "environment"
        mistakes = [f"{where}: {_mistake(one)}" for one in error.errors()]
        raise SettingsError("\n".join(mistakes)) from error


def _override(values: dict[str, Any], name: str, text: str) -> None:
    section, _, key = name.removeprefix(PREFIX).lower().partition("__")
    try:
        value: Any = tomllib.loads(f"v = {text}")["v"]
    except tomllib.TOMLDecodeError:
        value = text
    field = Settings.model_fields.get(section)
    if not key:
        values[section] = value
        return
    if field is None or not isinstance(values.setdefault(section, {}), dict):
        raise SettingsError(f"environment: {name} names no setting")
    kind = type(field.default).model_fields.get(key)
    values[section][key] = text if kind is not None and kind.annotation is str else value


def _mistake(error: Any) -> str:
    place = ".".join(str(part) for part in error["loc"])
    if error["type"] != "extra_forbidden":
        return f"{place}: {error['msg']}" if place else str(error["msg"])
    known: dict[str, Any] = dict(Settings.model_fields)
    if len(error["loc"]) > 1 and (field := known.get(str(error["loc"][0]))) is not None:
        known = getattr(type(field.default), "model_fields", {}) or {
            **PeerSettings.model_fields, **ArchiveSettings.model_fields
        }  # fmt: skip
    near = difflib.get_close_matches(str(error["loc"][-1]), known, 1)
    return f"{place}: no such setting" + (f"; did you mean {near[0]!r}?" if near else f"; there are {sorted(known)}")
