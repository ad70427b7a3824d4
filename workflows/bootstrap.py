"""Bootstrap: builds every object from the settings. What is costly is built when first asked for, after a fork."""

from __future__ import annotations

import logging
import os
import socket
import sys
from functools import cached_property
from importlib.metadata import version

import structlog
from structlog.typing import Processor

from dicom_node.network.storage_scp import StorageSCP, StorageSCPSettings
from dicom_node.network.storage_scu import Peer
from dicom_node.storage.instance import ReceivedInstance
from dicom_node.storage.instance_store import InstanceStore
from inference.interface import Predictor
from inference.open import describe_predictor, open_predictor
from workflows.errors import SettingsError
from workflows.protocols.loader import load_directory
from workflows.settings import Settings
from workflows.state.engine import open_engine, open_existing_engine, upgrade_schema
from workflows.state.repository import Repository
from workflows.steps.plan import Planner
from workflows.steps.predict import Inference
from workflows.steps.publish import Destination
from workflows.steps.receive import receive_instance

__all__ = ["COMMISSIONING", "Node", "configure_logging", "repository_to_read"]

COMMISSIONING = "commissioning"


class Node:
    """One node's objects. Roles share nothing but the database, the queue and the data directory."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        data_dir = settings.node.data_dir
        try:
            data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            data_dir.chmod(0o700)
        except OSError as error:
            raise SettingsError(f"[node] data_dir {data_dir} cannot be used: {error.strerror}") from error
        self.owner = f"{socket.gethostname()}:{os.getpid()}"

    @property
    def broker_url(self) -> str:
        return self.settings.broker_url

    @cached_property
    def store(self) -> InstanceStore:
        node = self.settings.node
        return InstanceStore(node.data_dir / "instances", minimum_free_bytes=node.minimum_free_mb * 1024 * 1024)

    def repository(self) -> Repository:
        """The repository, with the schema at its newest migration."""
        return self._repository

    @cached_property
    def _repository(self) -> Repository:
        engine = open_engine(self.settings.database_url)
        upgrade_schema(engine)
        return Repository(engine, rewake_s=self.settings.node.rewake_s)

    @cached_property
    def predictor(self) -> Predictor:
        """The model, loaded. Its terms are logged every time."""
        model = self.settings.model
        predictor = open_predictor(model.checkpoint, model.device, model.accept_research_use)
        description = predictor.description
        structlog.get_logger().info(
            "model_loaded", name=description.name, digest=description.digest[:16], terms=description.terms
        )
        return predictor

    def planner(self) -> Planner:
        """Protocols are read anew for each study, so that an edit needs no restart."""
        commissioning = self.settings.model.checkpoint == COMMISSIONING
        return Planner(
            protocols=() if commissioning else load_directory(self.settings.protocols.directory),
            model=describe_predictor(self.settings.model.checkpoint, self.settings.model.accept_research_use),
            profile=self.settings.results.profile,
            software_version=version("medseg-node"),
            commissioning=commissioning,
        )

    def inference(self) -> Inference:
        node, archive = self.settings.node, self.settings.archive
        return Inference(
            predictor=self.predictor,
            owner=self.owner,
            results_directory=(node.data_dir / "results").resolve(),
            station_ae_title=node.ae_title,
            archive=archive.name if archive is not None else "",
            lease_s=node.lease_s,
            heartbeat_s=node.lease_s / 4,
            maximum_attempts=node.maximum_attempts,
        )

    def destination(self) -> Destination:
        archive = self.settings.archive
        peer = Peer(archive.ae_title, archive.host, archive.port) if archive is not None else None
        return Destination(peer=peer, calling_ae_title=self.settings.node.ae_title, owner=self.owner)

    def storage_scp(self) -> StorageSCP:
        node, store, repository = self.settings.node, self.store, self.repository()

        def receive(received: ReceivedInstance) -> None:
            receive_instance(received, store, repository)

        settings = StorageSCPSettings(
            ae_title=node.ae_title,
            host=node.host,
            port=node.port,
            allowed_calling_ae=node.allowed_calling_ae,
            maximum_associations=node.maximum_associations,
            acse_timeout_s=node.acse_timeout_s,
            dimse_timeout_s=node.dimse_timeout_s,
            network_timeout_s=node.network_timeout_s,
            maximum_pdu_bytes=node.maximum_pdu_bytes,
        )
        return StorageSCP(settings, receive)


def repository_to_read(settings: Settings) -> Repository:
    """What a node with these settings has kept, for commands that only read: they create no folder and no table.

    Raises SettingsError where no node has run.
    """
    return Repository(open_existing_engine(settings.database_url))


def configure_logging(log_format: str, level: int = logging.INFO) -> None:
    """structlog to standard error, from `level` on: JSON in production, readable on a terminal. Times are UTC.

    Libraries log through the standard library; their warnings get the same shape.
    """
    as_json = log_format == "json" or (log_format == "auto" and not sys.stderr.isatty())
    renderer = structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer()
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.captureWarnings(True)
    # What these say may hold values of the header, and so a patient's name; what matters of it comes as our own error.
    for name in ("pynetdicom", "pydicom", "py.warnings"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
