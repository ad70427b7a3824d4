"""The sections and settings of a node, and what a value of each may be."""

from __future__ import annotations

import os
from enum import Enum
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    BeforeValidator,
    Field,
    SecretStr,
    field_validator,
    model_validator,
)

from dicom_node.results.profiles import ADDED_KINDS, Profile, ResultKind, WhenNothingSeen, Wishes
from inference.interface import LOW_CONFIDENCE
from inference.plugin import is_class_name
from inference.remote import RemoteAccess, is_address
from workflows.settings.pages import AuditSettings, WebSettings
from workflows.settings.values import AETitle, Folder, Section, listed, named, of_scheme

__all__ = [
    "CHECKOUT", "COMMISSIONING", "SHIPPED", "ArchiveSettings", "BrokerSettings", "DatabaseSettings", "Delivery",
    "LimitsSettings", "ModelSettings", "NodeSettings", "PeerSettings", "PredictorSettings", "ProtocolsSettings",
    "ResultsSettings", "RetentionSettings", "Settings", "Supersede", "is_no_path",
]  # fmt: skip

COMMISSIONING = "commissioning"
SHIPPED = "tiny"  # the checkpoint that comes with the node, as inference.open knows it


def is_no_path(checkpoint: str) -> bool:
    """Whether a checkpoint is named otherwise than by its folder."""
    return checkpoint in (SHIPPED, COMMISSIONING) or is_address(checkpoint) or is_class_name(checkpoint)


CHECKOUT = Path(__file__).resolve().parents[2]
PROTOCOLS = CHECKOUT / "deploy" / "protocols"


class NodeSettings(Section):
    """[node]: the DICOM side and where everything is kept."""

    ae_title: AETitle = Field(default="MEDSEG", description="AE title of the node.")
    host: str = Field(default="127.0.0.1", description="Address the storage SCP listens on.")
    port: int = Field(default=11112, ge=0, le=65535, description="Port the storage SCP listens on; 0 takes a free one.")
    data_dir: Annotated[Folder, BeforeValidator(named)] = Field(
        default=Path("data"),
        validate_default=True,
        description="Folder for instances, results, database and queue, beside the file; mode 0700.",
    )
    allowed_calling_ae: Annotated[tuple[AETitle, ...], BeforeValidator(listed)] = Field(
        default=(), description="Calling AE titles allowed; empty allows all."
    )
    quiet_period_s: float = Field(
        default=60.0, gt=0, description="Seconds without a new instance that complete a study."
    )
    maximum_associations: int = Field(default=32, ge=1, description="Associations served at once.")
    acse_timeout_s: float = Field(default=30.0, gt=0, description="Seconds to wait for association messages.")
    dimse_timeout_s: float = Field(default=60.0, gt=0, description="Seconds to wait for the next DIMSE message.")
    network_timeout_s: float = Field(default=120.0, gt=0, description="Seconds without any traffic; then we hang up.")
    acceptors: int = Field(default=2, ge=1, le=64, description="Processes that receive instances on the one port.")
    journal_mb: int = Field(
        default=1024, ge=64, description="Room for instances that are acknowledged and not yet files, in MB."
    )
    maximum_pdu_bytes: int = Field(default=131072, ge=4096, description="Largest PDU that peers may send, in bytes.")
    minimum_free_mb: int = Field(
        default=512, ge=0, description="Below this much free room instances are refused (0xA700)."
    )
    lease_s: float = Field(
        default=60.0, gt=0, description="Seconds after which a silent worker's job is taken up again."
    )
    scheduler_interval_s: float = Field(default=1.0, gt=0, description="Seconds between two looks at what is due.")
    rewake_s: float = Field(default=30.0, gt=0, description="Seconds after which an unanswered wake-up is repeated.")
    maximum_attempts: int = Field(
        default=3, ge=1, description="Attempts at one job that may come to nothing before it fails."
    )
    log_format: Literal["auto", "console", "json"] = Field(default="auto", description="auto: readable on a terminal.")


class PeerSettings(Section):
    """[[peers]]: what is special about one source."""

    ae_title: AETitle = Field(description="Calling AE title of the source.")
    quiet_period_s: float | None = Field(default=None, gt=0, description="Its own quiet period in seconds.")
    host: str = Field(default="", description="Its address, where it can be asked what a study holds.")
    port: int | None = Field(default=None, ge=1, le=65535, description="Its port.")
    dicomweb_url: str = Field(default="", description='Its DICOMweb root; for `evidence = "qido"`.')
    evidence: Literal["none", "c-find", "qido"] = Field(
        default="none", description="How it is asked for a study's instances before the study counts as complete."
    )
    late_images: Literal["read", "keep"] = Field(
        default="read", description="Images after a study was read: `read` it again, or `keep` them and do not."
    )
    priority: Literal["stat", "routine"] = Field(default="routine", description="How soon its studies are read.")

    @field_validator("dicomweb_url")
    @classmethod
    def _web(cls, value: str) -> str:
        return of_scheme(value, "http", "https").rstrip("/")

    @model_validator(mode="after")
    def _can_be_asked(self) -> PeerSettings:
        if self.evidence == "c-find" and not (self.host and self.port):
            raise ValueError('evidence = "c-find" needs host and port')
        if self.evidence == "qido" and not self.dicomweb_url:
            raise ValueError('evidence = "qido" needs dicomweb_url')
        return self


class DatabaseSettings(Section):
    """[database]: the truth."""

    url: str = Field(default="", repr=False, description="SQLAlchemy URL; empty: SQLite under data_dir.")

    @field_validator("url")
    @classmethod
    def _known(cls, value: str) -> str:
        return of_scheme(value, "sqlite", "postgresql", "postgresql+psycopg")


class BrokerSettings(Section):
    """[broker]: the wake-up."""

    url: str = Field(default="", repr=False, description="amqp://... for RabbitMQ; empty: folders under data_dir.")

    @field_validator("url")
    @classmethod
    def _known(cls, value: str) -> str:
        if value.startswith("filesystem://") and not value.startswith("filesystem:///"):
            raise ValueError("write filesystem:///FOLDER, the whole path")
        return of_scheme(value, "amqp", "amqps", "filesystem")


class Delivery(Enum):
    """How results go to an archive."""

    C_STORE = "c-store"
    STOW_RS = "stow-rs"


class Supersede(Enum):
    """What becomes of results in an archive once they are replaced or turn out wrong.

    KOS: a Key Object Selection says that they are not to be used. DELETE: they are deleted through Orthanc's REST
    interface. NONE: they stay.
    """

    KOS = "kos"
    DELETE = "delete"
    NONE = "none"


_ALSO = {"pdf": ResultKind.DOCUMENT, "key-objects": ResultKind.KEY_OBJECTS,
         "presentation-states": ResultKind.PRESENTATION_STATE}  # fmt: skip
assert frozenset(_ALSO.values()) == ADDED_KINDS


class ArchiveSettings(Section):
    """[[archives]]: where results may go."""

    name: str = Field(min_length=1, description="Name that [results] archive refers to.")
    ae_title: AETitle = Field(description="AE title of the archive.")
    host: str = Field(description="Its address.")
    port: int = Field(ge=1, le=65535, description="Its port.")
    profile: Profile | None = Field(default=None, description="Its own profile; without one `[results] profile` holds.")
    also: Annotated[tuple[Literal["pdf", "key-objects", "presentation-states"], ...], BeforeValidator(listed)] = Field(
        default=(),
        description="Objects beside those of its profile: `pdf`, `key-objects`, `presentation-states`.",
    )
    captures: Literal["multi-frame", "single-frame"] = Field(
        default="multi-frame", description="Secondary captures as one multi-frame instance, or as images of one frame."
    )
    when_nothing_seen: WhenNothingSeen | None = Field(
        default=None, description="Its own; without one `[results] when_nothing_seen` holds."
    )
    delivery: Delivery = Field(
        default=Delivery.C_STORE, description="How results go there: `c-store`, or `stow-rs` to `dicomweb_url`."
    )
    dicomweb_url: str = Field(
        default="", description="Its DICOMweb root, such as http://pacs:8042/dicom-web; for STOW-RS, QIDO-RS, WADO-RS."
    )
    orthanc_url: str = Field(
        default="", description='Orthanc\'s REST interface, such as http://pacs:8042; for `supersede = "delete"`.'
    )
    username: str = Field(default="", description="User for both addresses, where they ask for one.")
    password: SecretStr = Field(default=SecretStr(""), description="The user's password.")
    commitment: bool = Field(
        default=False,
        description="Ask for storage commitment; else what was sent is looked for by query.",
    )
    supersede: Supersede = Field(
        default=Supersede.KOS,
        description="What becomes of replaced or wrong results there: `kos` (a rejection note), `delete`, `none`.",
    )

    @field_validator("dicomweb_url", "orthanc_url")
    @classmethod
    def _web(cls, value: str) -> str:
        return of_scheme(value, "http", "https").rstrip("/")

    @model_validator(mode="after")
    def _complete(self) -> ArchiveSettings:
        if self.delivery is Delivery.STOW_RS and not self.dicomweb_url:
            raise ValueError('delivery = "stow-rs" needs dicomweb_url')
        if self.supersede is Supersede.DELETE and not self.orthanc_url:
            raise ValueError('supersede = "delete" needs orthanc_url')
        return self


class ResultsSettings(Section):
    """[results]: where results go, and in which shape."""

    archive: Annotated[tuple[str, ...], BeforeValidator(listed)] = Field(
        default=(),
        description="Archives that get the results: one, several with commas, or a list; empty: the only one there is.",
    )
    profile: Profile = Field(
        default=Profile.OHIF, description="Viewer the results are shaped for: ohif, air, slicer or plain-pacs."
    )
    when_nothing_seen: WhenNothingSeen = Field(
        default=WhenNothingSeen.REPORT,
        description="What is sent when nothing was seen: `report` (it alone), `all` that the profile has, `nothing`.",
    )
    low_confidence: float = Field(
        default=LOW_CONFIDENCE,
        ge=0,
        le=1,
        description="Below this confidence a mask is called `low confidence` and not measured; 0: none is.",
    )


class ProtocolsSettings(Section):
    """[protocols]: which questions are asked of which series."""

    directory: Annotated[Folder, BeforeValidator(lambda written: written or PROTOCOLS)] = Field(
        default=PROTOCOLS, description="Folder of reading protocols (YAML); empty: those that come with the node."
    )
    at_most: int | None = Field(
        default=None, ge=1, description="So many protocols at most ask one study, by priority; empty: all that match."
    )


class ModelSettings(Section):
    """[model]: who answers."""

    checkpoint: str = Field(
        default=SHIPPED,
        description="`tiny` (the shipped weights), `commissioning`, a checkpoint folder, `module:Class` of an "
        "installed package, or the address of a remote predictor, `https://HOST:PORT`.",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="Where the model runs.")
    accept_research_use: bool = Field(default=False, description="Accept weights whose terms allow research only.")
    accept_uncalibrated: bool = Field(
        default=False, description="Accept weights without calibration: every answer says that its confidence has none."
    )
    token_file: Folder | None = Field(
        default=None,
        description="File with the token that a remote predictor asks for; without one `MEDSEG_R_TOKEN` of the "
        "environment.",
    )
    ca_file: Folder | None = Field(
        default=None, description="Certificates (PEM) that a remote predictor's is signed by; empty: the system's."
    )
    timeout_s: float = Field(default=900.0, gt=0, description="Seconds in which a remote predictor's answer is there.")

    @field_validator("token_file", "ca_file", mode="before")
    @classmethod
    def _empty(cls, value: object) -> object:
        return value or None

    @field_validator("checkpoint")
    @classmethod
    def _absolute(cls, value: str) -> str:
        if not value:
            raise ValueError(f"name a folder, or {SHIPPED}, or {COMMISSIONING}")
        return value if is_no_path(value) else os.path.abspath(Path(value).expanduser())

    @property
    def access(self) -> RemoteAccess:
        """How a remote predictor is reached."""
        return RemoteAccess(self.token_file, self.ca_file, self.timeout_s)


class PredictorSettings(ModelSettings):
    """[[predictors]]: who answers the questions of a protocol that name it; the same settings as [model]."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,15}$",
        description="Name that `predictor:` of a question refers to; at most 16 letters, digits, `_`, `.` and `-`.",
    )


class LimitsSettings(Section):
    """[limits]: what one sender, one message, one job may take."""

    instance_mb: int = Field(default=4096, ge=1, description="Largest instance that is taken, in MB.")
    pdu_s: float = Field(default=30.0, gt=0, description="Seconds in which a PDU that has begun must be there.")
    association_s: float = Field(default=4 * 3600.0, gt=0, description="Seconds that an association may last.")
    associations_per_peer: int = Field(default=16, ge=1, description="Associations of one calling AE title at once.")
    job_s: float = Field(default=3600.0, gt=0, description="Seconds after which a job that is not answered is stopped.")
    job_memory_gb: float = Field(default=0.0, ge=0, description="Memory of a job's process, in GB; 0: no limit.")


class RetentionSettings(Section):
    """[retention]: how long what was received is kept."""

    inputs_days_after_commitment: float | None = Field(
        default=None, ge=0, description="Days that images are kept once all results are known to be kept; empty: ever."
    )
    uncommitted_days: float | None = Field(
        default=None,
        ge=0,
        description="Days that images of UNMATCHED, FAILED, unconfirmed studies are kept; empty: ever.",
    )
    budget_gb: float = Field(default=0.0, ge=0, description="Room for what was received, in GB; 0: as the disk has.")
    warn_at: float = Field(default=0.8, gt=0, le=1, description="Part of the budget at which the node warns.")


class Settings(Section):
    """All settings of a node."""

    node: NodeSettings = Field(default_factory=NodeSettings)
    peers: tuple[PeerSettings, ...] = ()
    database: DatabaseSettings = Field(default_factory=DatabaseSettings)
    broker: BrokerSettings = Field(default_factory=BrokerSettings)
    archives: tuple[ArchiveSettings, ...] = ()
    results: ResultsSettings = Field(default_factory=ResultsSettings)
    protocols: ProtocolsSettings = Field(default_factory=ProtocolsSettings)
    model: ModelSettings = Field(default_factory=ModelSettings)
    predictors: tuple[PredictorSettings, ...] = ()
    limits: LimitsSettings = Field(default_factory=LimitsSettings)
    retention: RetentionSettings = Field(default_factory=RetentionSettings)
    web: WebSettings = Field(default_factory=WebSettings)
    audit: AuditSettings = Field(default_factory=AuditSettings)

    @model_validator(mode="after")
    def _consistent(self) -> Settings:
        names = [archive.name for archive in self.archives]
        if len(set(names)) < len(names):
            raise ValueError(f"two [[archives]] have the same name: {names}")
        titles = [peer.ae_title for peer in self.peers]
        if len(set(titles)) < len(titles):
            raise ValueError(f"two [[peers]] have the same ae_title: {titles}")
        predictors = [predictor.name for predictor in self.predictors]
        if len(set(predictors)) < len(predictors):
            raise ValueError(f"two [[predictors]] have the same name: {predictors}")
        wanted = self.results.archive
        if unknown := [name for name in wanted if name not in names]:
            missing = " or ".join(map(repr, unknown))
            raise ValueError(f"[results] archive: no archive is called {missing}; [[archives]] has {names}")
        if len(set(wanted)) < len(wanted):
            raise ValueError(f"[results] archive names one twice: {list(wanted)}")
        if not wanted and len(names) > 1:
            raise ValueError(f"[results] archive must name one or more of {names}")
        return self

    @property
    def destinations(self) -> tuple[ArchiveSettings, ...]:
        """The archives that get the results, in the order in which `[results] archive` names them."""
        archives = {archive.name: archive for archive in self.archives}
        return tuple(archives[name] for name in self.results.archive or archives)

    def profile_of(self, archive: ArchiveSettings) -> Profile:
        """What the results for `archive` are shaped for: its own profile, or else that of `[results]`."""
        return archive.profile or self.results.profile

    def wishes_of(self, archive: ArchiveSettings) -> Wishes:
        """What `archive` wants otherwise than its profile has it."""
        return Wishes(
            also=tuple(_ALSO[name] for name in dict.fromkeys(archive.also)),
            single_images=archive.captures == "single-frame",
            when_nothing_seen=archive.when_nothing_seen or self.results.when_nothing_seen,
        )

    @property
    def database_url(self) -> str:
        """SQLAlchemy URL of the database; may hold a password, so it is never logged."""
        return self.database.url or f"sqlite:///{self.node.data_dir / 'medseg-node.db'}"

    @property
    def broker_url(self) -> str:
        """Celery broker URL; may hold a password, so it is never logged."""
        return self.broker.url or f"filesystem://{self.node.data_dir / 'queue'}"
