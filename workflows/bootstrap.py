"""Bootstrap: builds every object from the settings. What is costly is built when first asked for, after a fork."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from functools import cache, cached_property, partial
from importlib.metadata import version
from pathlib import Path

import structlog

from dicom_node.audit.syslog import SyslogReceiver
from dicom_node.network.archive import Archive, ArchiveAddress, move, open_archive
from dicom_node.network.availability import InstanceAvailability
from dicom_node.network.commitment import CommitmentAnswer
from dicom_node.network.storage_scp import StorageSCP, StorageSCPSettings
from dicom_node.network.storage_scu import Peer, Timeouts
from dicom_node.network.upper_layer.services import ServiceOffer
from dicom_node.results.profiles import Wishes
from dicom_node.storage.backlog import backlog
from dicom_node.storage.instance_store import InstanceStore
from dicom_node.storage.journal import Journal
from dicom_node.storage.journal_reader import JournalReader
from inference.card import ModelCard
from inference.errors import CheckpointError, InferenceError
from inference.interface import Predictor, PredictorDescription
from inference.medseg_r.description import checkpoint_folder, read_description
from inference.open import describe_predictor, open_predictor
from workflows.data_folder import DataFolder
from workflows.errors import OtherWeights, SettingsError
from workflows.ownership import require_own_folder
from workflows.protocols.checking import CheckedRules, check_rules
from workflows.protocols.schema import ReadingProtocol
from workflows.settings import COMMISSIONING, ArchiveSettings, Delivery, ModelSettings, PeerSettings, Settings
from workflows.state.engine import open_engine, open_existing_engine, upgrade_schema
from workflows.state.keeping import KeepingRules
from workflows.state.records import Destination
from workflows.state.repository import Repository
from workflows.state.waker import Waker
from workflows.steps.audit import AuditSender, Naming
from workflows.steps.complete import completed, note_availability
from workflows.steps.confirm import record_commitment
from workflows.steps.evidence import ArchiveSource, Asking, Evidence, take_file
from workflows.steps.fetch_shown import FetchedImages
from workflows.steps.intake import IntakeSettings
from workflows.steps.integrity import Recovery
from workflows.steps.plan import Planner
from workflows.steps.predict import Inference
from workflows.steps.proposals import Segmentations
from workflows.steps.pull import Puller
from workflows.steps.questions import Asker
from workflows.steps.receive import Receiver, index_waiting
from workflows.steps.review import ReviewWriter
from workflows.steps.room import RoomWatch, SinkWithRoom
from workflows.steps.route import Route, Sender
from workflows.steps.rules_in_service import RulesInService
from workflows.steps.showing import Showing

__all__ = ["Node", "address_of", "checked_rules", "receiver_of", "repository_to_read"]

log = structlog.get_logger()


class Node:
    """One node's objects. Roles share nothing but the database, the queue and the data folder."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        data_dir = settings.node.data_dir
        try:
            data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            data_dir.chmod(0o700)
        except OSError as error:
            raise SettingsError(f"[node] data_dir {data_dir} cannot be used: {error.strerror}") from error
        self.owner = f"{socket.gethostname()}:{os.getpid()}"
        self.folder = DataFolder(data_dir.resolve())
        self._predictors: dict[str, Predictor] = {}  # by the name of who answers, "" for that of [model]

    @property
    def broker_url(self) -> str:
        return self.settings.broker_url

    @cached_property
    def repository(self) -> Repository:
        """The repository, with the schema at its newest migration and the data folder known to be this node's.

        Raises SettingsError for another node's folder, DatabaseUnavailable.
        """
        return self._opened[0]

    @cached_property
    def node_uid(self) -> str:
        """The identity that data folder and database share."""
        return self._opened[1]

    @cached_property
    def _opened(self) -> tuple[Repository, str]:
        engine = open_engine(self.settings.database_url)
        upgrade_schema(engine)
        repository = Repository(engine, rewake_s=self.settings.node.rewake_s)
        return repository, require_own_folder(self.folder, repository)

    @cached_property
    def store(self) -> InstanceStore:
        minimum = self.settings.node.minimum_free_mb * 1024 * 1024
        return InstanceStore(self.folder.instances, minimum_free_bytes=minimum)

    # --- What the steps need ------------------------------------------------------------------------------------------

    @cached_property
    def receiver(self) -> Receiver:
        return Receiver(self.store, self.folder, self.repository, self.quiet_period_s, self.keeps_late_images)

    def quiet_period_s(self, calling_ae_title: str) -> float:
        """How long a study from a source must be quiet to be complete: its own setting, or the node's."""
        own = {peer.ae_title: peer.quiet_period_s for peer in self.settings.peers}
        return own.get(calling_ae_title) or self.settings.node.quiet_period_s

    @property
    def shortest_quiet_period_s(self) -> float:
        """Of all sources: a study is to be seen at least once before it may be complete."""
        return min([self.settings.node.quiet_period_s, *(one.quiet_period_s or 1e9 for one in self.settings.peers)])

    def keeps_late_images(self, calling_ae_title: str) -> bool:
        """Whether images of a source that come after their study was read are kept and not read."""
        return any(peer.ae_title == calling_ae_title and peer.late_images == "keep" for peer in self.settings.peers)

    def evidence(self, waker: Waker) -> Evidence:
        """Who can be asked what a study holds, and wakes its planning once it is complete."""

        def done(study_uid: str, evidence: str) -> None:
            completed(study_uid, evidence, waker)

        asked = (peer for peer in self.settings.peers if peer.evidence != "none")
        return Evidence({peer.ae_title: Asking(self._source(peer), self.repository, done) for peer in asked})

    def sources_that_can_be_asked(self) -> list[ArchiveSource]:
        """The peers that answer queries."""
        return [self._source(peer) for peer in self.settings.peers if peer.evidence != "none"]

    def _source(self, peer: PeerSettings) -> ArchiveSource:
        url = peer.dicomweb_url if peer.evidence == "qido" else ""
        address = ArchiveAddress(Peer(peer.ae_title, peer.host, peer.port or 0), dicomweb_url=url)
        return self._archive_source(peer.ae_title, address, peer.ae_title)

    def _archive_source(self, name: str, address: ArchiveAddress, calling_ae_title: str) -> ArchiveSource:
        """Who can be asked for instances that came, or should have come, from `calling_ae_title`."""
        own = self.settings.node.ae_title

        def send_here(study_uid: str, series_uid: str, uids: Sequence[str]) -> None:
            peer = address.peer
            move(peer, own, study_uid, own, series_uid=series_uid, sop_instance_uids=uids, timeouts=_TRANSFER)

        return ArchiveSource(
            name=name,
            archive=partial(open_archive, address, own, timeouts=_QUESTION),
            take=lambda path: take_file(path, calling_ae_title, self.journal),
            move=None if address.dicomweb_url else send_here,
        )

    @property
    def is_commissioning(self) -> bool:
        """Whether the node asks every image series, whatever its protocols say."""
        return self.settings.model.checkpoint == COMMISSIONING

    def planner(self, protocols: Sequence[ReadingProtocol] | None = None) -> Planner:
        """What a study is planned with: the protocols in service, after a look at their folder, or `protocols`.

        Raises ProtocolErrors where none can be put into service.
        """
        commissioning = self.is_commissioning
        if protocols is None:
            protocols = () if commissioning else self.load_protocols()
        named = {name for protocol in protocols for name in protocol.results.archives}
        archives = [one for one in self.settings.archives if one in self.settings.destinations or one.name in named]
        return Planner(
            protocols=tuple(protocols),
            at_most=self.settings.protocols.at_most,
            model=self.configured_weights(),
            model_of=cache(self.configured_weights),
            destinations=self.result_destinations,
            all_archives={one.name: self._destination(one) for one in self.settings.archives},
            software=version("medseg-node"),
            node_uid=self.node_uid,
            low_confidence=self.settings.results.low_confidence,
            commissioning=commissioning,
            urgent_sources=frozenset(peer.ae_title for peer in self.settings.peers if peer.priority == "stat"),
            archives={one.name: partial(self._archive_to_ask, one) for one in archives},
        )

    @cached_property
    def rules(self) -> RulesInService:
        """The reading protocols in service, of this process."""
        return RulesInService(
            self.settings.protocols.directory, lambda: self.repository, partial(checked_rules, self.settings)
        )

    def load_protocols(self) -> tuple[ReadingProtocol, ...]:
        """The reading protocols in service. Raises ProtocolErrors where none can be put into service."""
        return self.rules.protocols()

    @property
    def result_destinations(self) -> tuple[Destination, ...]:
        """Where results go, in which profile; without an archive they wait for one."""
        settings = self.settings
        wishes = Wishes(when_nothing_seen=settings.results.when_nothing_seen)
        named = tuple(self._destination(one) for one in settings.destinations)
        return named or (Destination("", settings.results.profile, wishes),)

    def _destination(self, archive: ArchiveSettings) -> Destination:
        return Destination(archive.name, self.settings.profile_of(archive), self.settings.wishes_of(archive))

    def asker(self) -> Asker:
        """What a question that a person asks becomes a job with."""
        return Asker(
            model=self.configured_weights(),
            destinations=self.result_destinations,
            software=version("medseg-node"),
            node_uid=self.node_uid,
            low_confidence=self.settings.results.low_confidence,
        )

    def _archive_to_ask(self, archive: ArchiveSettings) -> Archive:
        """An archive for a question that nobody should wait long for."""
        return open_archive(address_of(archive), self.settings.node.ae_title, timeouts=_SHORT)

    def configured_weights(self, name: str = "") -> PredictorDescription:
        """What the configuration names now, without loading it: a link may have moved since a worker loaded.

        `name`: of `[[predictors]]`; empty: that of [model].
        """
        model = self._models[name]
        return describe_predictor(
            model.checkpoint, model.accept_research_use, model.accept_uncalibrated, access=model.access
        )

    @property
    def _models(self) -> dict[str, ModelSettings]:
        return {"": self.settings.model, **{one.name: one for one in self.settings.predictors}}

    def predictor_for(self, wanted: PredictorDescription) -> Predictor:
        """The predictor that holds the wanted weights, loaded anew if the configuration names them by now.

        Raises OtherWeights, and what opening a predictor raises.
        """
        for predictor in self._predictors.values():
            with suppress(InferenceError):  # a remote one that has changed, and is away; it is asked again below
                if predictor.description.digest == wanted.digest:
                    return predictor
        name = self._named_by(wanted)
        self._predictors.pop(name, None)  # room for the new ones
        self._predictors[name] = self._load(self._models[name])
        loaded = self._predictors[name].description
        if loaded.digest != wanted.digest:  # the folder changed while it was read
            raise OtherWeights(f"planned for weights {_named(wanted)}, this worker has just loaded {_named(loaded)}")
        return self._predictors[name]

    def _named_by(self, wanted: PredictorDescription) -> str:
        """Which of the configured predictors has the wanted weights by now. Raises OtherWeights.

        One that cannot be asked is another's trouble, unless none has them.
        """
        trouble: InferenceError | None = None
        for name in self._models:
            try:
                if self.configured_weights(name).digest == wanted.digest:
                    return name
            except InferenceError as error:
                trouble = trouble or error
        if trouble is not None:
            raise trouble
        held = next((one.description for one in self._predictors.values()), None) or self.configured_weights()
        raise OtherWeights(
            f"planned for weights {_named(wanted)}, this worker holds {_named(held)}; "
            "`medseg-node reread` asks the study anew"
        )

    def _load(self, model: ModelSettings) -> Predictor:
        predictor = open_predictor(
            model.checkpoint,
            model.device,
            model.accept_research_use,
            model.accept_uncalibrated,
            access=model.access,
        )
        weights = predictor.description
        log.info(
            "model_loaded", name=weights.name, version=weights.version, digest=weights.digest[:16], terms=weights.terms
        )
        return predictor

    def inference(self) -> Inference:
        node = self.settings.node
        return Inference(
            predictor_for=self.predictor_for,
            owner=self.owner,
            station_ae_title=node.ae_title,
            low_confidence=self.settings.results.low_confidence,
            node_uid=self.node_uid,
            lease_s=node.lease_s,
            heartbeat_s=node.lease_s / 4,
            maximum_attempts=node.maximum_attempts,
            retry_s=node.rewake_s,
        )

    def review_writer(self) -> ReviewWriter:
        node = self.settings.node
        return ReviewWriter(
            owner=self.owner,
            station_ae_title=node.ae_title,
            organisation=self.settings.web.organisation,
            node_uid=self.node_uid,
            lease_s=2 * node.lease_s,
            heartbeat_s=node.lease_s / 2,
        )

    def sender(self) -> Sender:
        node, destinations = self.settings.node, self.settings.destinations
        routes = {archive.name: self.route(archive) for archive in self.settings.archives}
        return Sender(
            owner=self.owner,
            routes=routes,
            default=destinations[0].name if destinations else "",
            lease_s=2 * node.lease_s,
            heartbeat_s=node.lease_s / 2,
            retry_s=node.rewake_s,
        )

    def route(self, archive: ArchiveSettings) -> Route:
        """The way to one archive."""
        return Route(
            address=address_of(archive),
            calling_ae_title=self.settings.node.ae_title,
            stow=archive.delivery is Delivery.STOW_RS,
            commitment=archive.commitment,
            supersede=archive.supersede,
        )

    # --- The audit ---------------------------------------------------------------------------------------------------

    @property
    def audit_naming(self) -> Naming:
        """How audit messages name this node."""
        host, title = socket.gethostname(), self.settings.node.ae_title
        return Naming(self.settings.audit.source_id or f"{title}@{host}", title, host)

    def audit_sender(self) -> AuditSender:
        """Who sends the audit to its receiver, which the settings must name."""
        return AuditSender(self.repository, receiver_of(self.settings), self.audit_naming)

    # --- Keeping ------------------------------------------------------------------------------------------------------

    def room_watch(self) -> RoomWatch:
        retention = self.settings.retention
        used = self.repository.bytes_held
        return RoomWatch(self.folder, used, budget_gb=retention.budget_gb, warn_at=retention.warn_at)

    @property
    def keeping_rules(self) -> KeepingRules:
        """How long images are kept."""
        retention = self.settings.retention
        return KeepingRules(
            after_commitment=_days(retention.inputs_days_after_commitment),
            uncommitted=_days(retention.uncommitted_days),
        )

    def recovery(self) -> Recovery:
        """How what is lost is asked for again."""
        return Recovery(self.repository, self.store, self.folder, self.sources_of)

    @cached_property
    def segmentations(self) -> Segmentations:
        """How SEGs of others are looked at as corrections."""
        showing = Showing(self.repository, self.folder, FetchedImages(self.folder, self.sources_of))
        return Segmentations(self.repository, self.folder, showing)

    def sources_of(self, calling_ae_title: str) -> list[ArchiveSource]:
        """Who may have what came from an AE title: that peer where it can be asked, then every archive."""
        known = [one for one in self.settings.peers if one.ae_title == calling_ae_title and one.evidence != "none"]
        archives = (self._archive_source(one.name, address_of(one), calling_ae_title) for one in self.settings.archives)
        return [*map(self._source, known), *archives]

    def puller(self, archive: ArchiveSettings, by: str) -> Puller:
        """How `by` has studies of an archive fetched; they come as if it had sent them."""
        source = self._archive_source(archive.name, address_of(archive), archive.ae_title)
        source = replace(source, take=lambda path: take_file(path, archive.ae_title, self.sink))
        return Puller(source, self.repository, by, lambda: backlog(self.folder.intake).count)

    # --- Receiving ----------------------------------------------------------------------------------------------------

    @contextmanager
    def storage_scp(self) -> Iterator[StorageSCP]:
        """The storage SCP and the indexing in this process alone; once it ends all is indexed that can be."""
        scp = StorageSCP(
            self.scp_settings, self.sink, committed=self.record_commitment, available=self.note_availability
        )
        try:
            with self.indexing(), scp:
                yield scp
        finally:
            if journal := self.__dict__.pop("journal", None):  # the next one opens it anew
                journal.close()

    @contextmanager
    def indexing(self) -> Iterator[None]:
        """Index what this and other processes put into the journal, on a thread, until the block ends.

        Raises JournalInUse where another process does so already. The database need not be there.
        """
        reader = JournalReader(self.folder.intake)
        stop = threading.Event()
        quarter = self.settings.node.journal_mb * 1024 * 1024 // 4
        index = partial(index_waiting, reader, lambda: self.receiver, stop, gather_bytes=quarter)
        thread = threading.Thread(target=index, name="indexing", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(_DRAIN_S)
            if thread.is_alive():  # a database that does not answer at all; what waits is indexed at the next start
                log.warning("indexing_left", waits=backlog(self.folder.intake).count)
            else:
                reader.close()

    @cached_property
    def journal(self) -> Journal:
        """Where this process puts what it receives before it answers."""
        return self.intake.open_journal()

    @property
    def sink(self) -> SinkWithRoom:
        """The journal, while there is room for what it takes."""
        return self.intake.sink(self.journal)

    @property
    def intake(self) -> IntakeSettings:
        """How instances are taken in, as plain values for acceptor processes."""
        node = self.settings.node
        return IntakeSettings(
            scp=self.scp_settings,
            data_dir=self.folder.root,
            journal_bytes=node.journal_mb * 1024 * 1024,
            minimum_free_bytes=node.minimum_free_mb * 1024 * 1024,
            has_budget=self.settings.retention.budget_gb > 0,
        )

    @property
    def scp_settings(self) -> StorageSCPSettings:
        """How the storage SCP listens."""
        node, limits = self.settings.node, self.settings.limits
        return StorageSCPSettings(
            ae_title=node.ae_title,
            host=node.host,
            port=node.port,
            allowed_calling_ae=node.allowed_calling_ae,
            maximum_associations=node.maximum_associations,
            associations_per_peer=limits.associations_per_peer,
            acse_timeout_s=node.acse_timeout_s,
            dimse_timeout_s=node.dimse_timeout_s,
            network_timeout_s=node.network_timeout_s,
            pdu_s=limits.pdu_s,
            association_s=limits.association_s,
            maximum_pdu_bytes=node.maximum_pdu_bytes,
            largest_instance_bytes=limits.instance_mb * 1024 * 1024,
        )

    @property
    def scp_offer(self) -> ServiceOffer:
        """The services beside Storage and Verification; `roles/acceptor` must serve them."""
        return ServiceOffer(commitment=True, availability=True)

    def record_commitment(self, answer: CommitmentAnswer) -> None:
        """Keep what an archive answers about storage commitment."""
        record_commitment(answer, self.repository)

    def note_availability(self, notification: InstanceAvailability) -> None:
        """Keep which instances of a study a peer says that it has."""
        note_availability(notification, self.repository)


_QUESTION = Timeouts(connection_s=5.0, acse_s=5.0, dimse_s=5.0, network_s=5.0)
_TRANSFER = Timeouts(connection_s=5.0, acse_s=5.0, dimse_s=30.0, network_s=30.0)
_DRAIN_S = 30.0
_SHORT = Timeouts(connection_s=2.0, acse_s=2.0, dimse_s=4.0, network_s=4.0)


def address_of(archive: ArchiveSettings) -> ArchiveAddress:
    """Where an archive is."""
    return ArchiveAddress(
        peer=Peer(archive.ae_title, archive.host, archive.port),
        dicomweb_url=archive.dicomweb_url,
        orthanc_url=archive.orthanc_url,
        username=archive.username,
        password=archive.password.get_secret_value(),
    )


def receiver_of(settings: Settings) -> SyslogReceiver:
    """Where audit messages go."""
    syslog = settings.audit.syslog
    return SyslogReceiver(syslog.host, syslog.port, syslog.tls, syslog.ca, syslog.certificate, syslog.key)


def checked_rules(settings: Settings, directory: Path) -> CheckedRules:
    """A folder of reading protocols, or one file, checked against what the settings name and the model has learned."""
    predictors, archives = ([one.name for one in named] for named in (settings.predictors, settings.archives))
    return check_rules(directory, predictors, archives, _card(settings))


def _card(settings: Settings) -> ModelCard | None:
    """What the model in service has learned; None where that is not known without opening it."""
    try:
        return read_description(checkpoint_folder(settings.model.checkpoint)).card
    except CheckpointError:  # a class of another package, an address, commissioning: `doctor` says what is wrong
        return None


def _days(days: float | None) -> timedelta | None:
    return None if days is None else timedelta(days=days)


def _named(weights: PredictorDescription) -> str:
    return f"{weights.name} {weights.version} ({weights.digest[:12]})"


def repository_to_read(settings: Settings) -> Repository:
    """What a node with these settings has kept, for commands that only read: they create no folder and no table.

    Raises SettingsError where no node has run.
    """
    return Repository(open_existing_engine(settings.database_url))
