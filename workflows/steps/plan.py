"""Plan: match a complete study against the reading protocols; a job per matching series and protocol."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import structlog

from dicom_node.errors import InstanceRefused
from dicom_node.fault_points import FaultPoint, fault_point
from dicom_node.headers.elements import read_file_header
from dicom_node.headers.patient import PATIENT_KEYWORDS, patient_of
from dicom_node.headers.series_kind import SeriesKind, read_series_kind
from dicom_node.headers.study import SeriesHeader, StudyHeader, study_header
from dicom_node.network.archive import Archive
from dicom_node.results.codes import COMMISSIONING_CONCEPT
from inference.interface import PredictorDescription
from workflows.data_folder import DataFolder
from workflows.errors import FilesUnreadable
from workflows.protocols.matching import Plan, SeriesMatch, is_image_series, match
from workflows.protocols.schema import Priority, ProtocolQuestion, ReadingProtocol
from workflows.protocols.telling import named
from workflows.protocols.unmatched import told_unmatched
from workflows.protocols.verdicts import Verdict
from workflows.state.keys import LOW_CONFIDENCE, answer_key, job_key, request_key
from workflows.state.records import Destination, Instance, JobPlan, Prior, Study
from workflows.state.repository import Repository
from workflows.state.states import StudyState
from workflows.state.waker import Waker
from workflows.steps.archived_priors import ArchivedResults
from workflows.steps.compare import compare_with_read
from workflows.steps.destinations import destinations_of, useful_for_s
from workflows.steps.identity import Disagreement, disagreement
from workflows.steps.inputs import damaged_among, images_of, inputs_of, require_intact, require_readable, unreadable
from workflows.steps.kept_headers import kept_study_of, read_by_planning
from workflows.steps.prior_search import PriorSearch
from workflows.steps.priors import Wanted

__all__ = ["COMMISSIONING_QUESTION", "Planner", "plan_study"]

log = structlog.get_logger()

COMMISSIONING_QUESTION = ProtocolQuestion(
    id="bright",
    text="Which voxels lie above 90 % of the range of values that occur?",
    findings=(COMMISSIONING_CONCEPT,),
)


@dataclass(frozen=True)
class Planner:
    """What planning needs beside the study: the protocols, the model that would answer, who asks, where results go.

    `destinations`: of a protocol that names none; `all_archives`: every configured one, which a protocol may name.
    `at_most`: protocols that may ask one study; None: all.
    `model_of`: describes the predictor that a question names, when a match asks it. `urgent_sources`: calling AE titles
    whose studies go first. `archives`: opens those that may be asked for earlier results, by name; each has
    `archives_deadline_s` s.
    """

    protocols: tuple[ReadingProtocol, ...]
    model: PredictorDescription
    destinations: tuple[Destination, ...]
    software: str
    node_uid: str
    commissioning: bool = False
    low_confidence: float = LOW_CONFIDENCE
    archives: Mapping[str, Callable[[], Archive]] = field(default_factory=dict)
    archives_deadline_s: float = 5.0
    urgent_sources: frozenset[str] = frozenset()
    model_of: Callable[[str], PredictorDescription] | None = None
    all_archives: Mapping[str, Destination] = field(default_factory=dict)
    at_most: int | None = None

    def plan(self, study: StudyHeader) -> Plan:
        """Match the study. A commissioning node asks every image series, whatever the protocols say."""
        if not self.commissioning:
            return match(study, self.protocols, self.at_most)
        protocol = commissioning_protocol()
        asked = [series.series_uid for series in study.series if is_image_series(series)]
        why, why_not = "a commissioning node asks every image series", "no image series in this study"
        verdicts = tuple(Verdict(True, protocol.name, uid, why, protocol.version) for uid in asked)
        return Plan(
            matches=tuple(SeriesMatch(uid, protocol) for uid in asked),
            verdicts=verdicts or (Verdict(False, protocol.name, None, why_not, protocol.version),),
        )

    def job(
        self,
        study_uid: str,
        series_uid: str,
        inputs: tuple[str, ...],
        protocol: ReadingProtocol,
        prior: Prior | None = None,
        kind: SeriesKind | None = None,
        priority: Priority = Priority.ROUTINE,
        predictor: str = "",
    ) -> JobPlan:
        """The job of one series, protocol and predictor, with its keys."""
        model = self.model_of(predictor) if predictor and self.model_of is not None else self.model
        asked = (protocol.name, protocol.version, protocol.questions)
        request = request_key(study_uid, series_uid, inputs, *asked, prior, protocol.frames)
        answer = answer_key(request, model.digest)
        return JobPlan(
            job_key=job_key(answer, self.software, self.node_uid, self.low_confidence),
            request_key=request,
            answer_key=answer,
            series_uid=series_uid,
            protocol=protocol.name,
            protocol_version=protocol.version,
            protocol_digest=protocol.digest,
            questions=protocol.questions,
            inputs=inputs,
            model=model,
            software=self.software,
            destinations=destinations_of(protocol.results, self.destinations, self.all_archives),
            prior=prior,
            frames=protocol.frames,
            kind=kind,
            priority=priority,
            useful_for_s=useful_for_s(protocol.limits),
        )

    def priority(self, study: StudyHeader, protocol: ReadingProtocol) -> Priority:
        """STAT where the protocol, a source of the study or its header says so (PS3.3 C.4.11, (0040,1003))."""
        urgent = (
            protocol.limits.priority is Priority.STAT
            or not self.urgent_sources.isdisjoint(study.referring_sources)
            or study.requested_priority in _URGENT
        )
        return Priority.STAT if urgent else Priority.ROUTINE


_URGENT = ("STAT", "HIGH")


def commissioning_protocol() -> ReadingProtocol:
    """The one protocol of a commissioning node."""
    return ReadingProtocol.commissioning(COMMISSIONING_QUESTION)


def plan_study(study_uid: str, repository: Repository, folder: DataFolder, planner: Planner, waker: Waker) -> None:
    """Plan one complete study and wake its jobs. Running twice changes nothing.

    A study whose images contradict each other about the patient is held, one whose images were all rejected has nothing
    to be asked. A study whose files this host cannot read stays COMPLETE and says so; one with a header that cannot be
    read any more fails and says so.
    """
    study = repository.study(study_uid)
    if study is None or study.state is not StudyState.COMPLETE:
        return
    instances = repository.instances(study_uid)
    if not images_of(instances) and (rejected := _rejected(repository, study_uid)):
        repository.save_plan(study_uid, study.generation, [], [], rejected)
        log.info("study_rejected", study_uid=study_uid, generation=study.generation)
        return
    try:
        require_readable(instances, folder)
        instances = _with_patients(instances, repository, folder)
        if (found := disagreement(images_of(instances))) is not None and not _as_is(study, found, repository):
            repository.hold_study(study_uid, study.generation, found.reason)
            log.warning("study_held", study_uid=study_uid, generation=study.generation, attributes=found.attributes)
            return
        compared = compare_with_read(study, instances, repository, folder)
        if compared is None:
            log.info("plan_outdated", study_uid=study_uid, generation=study.generation)
            return
        instances = compared.instances
        require_intact(read_by_planning(instances), folder)
        kept = kept_study_of(instances, folder)
        header = study_header(kept)
        plan = planner.plan(header)
        jobs = _jobs(study, header, plan, instances, repository, folder, planner)
    except (FilesUnreadable, OSError) as error:
        reason = str(error) if isinstance(error, FilesUnreadable) else unreadable(error)
        log.error("files_unreadable", study_uid=study_uid, reason=reason)
        repository.suspect(study_uid)
        repository.hold_plan(study_uid, study.generation, f"waits to be planned: {reason}")
        return
    except InstanceRefused as error:
        if damaged_among(instances, folder):  # else it came so
            log.error("files_damaged", study_uid=study_uid, reason=str(error))
            repository.suspect(study_uid)
            repository.hold_plan(study_uid, study.generation, f"waits to be planned: a file is damaged: {error}")
            return
        log.error("study_unreadable", study_uid=study_uid, reason=str(error))
        repository.fail_study(study_uid, study.generation, f"a stored instance cannot be read: {error}")
        return
    summary = _summary(plan, {series.series_uid: series for series in header.series})
    keys = repository.save_plan(study_uid, study.generation, jobs, plan.verdicts, summary, kept)
    if keys is None:
        log.info("plan_outdated", study_uid=study_uid, generation=study.generation)
        return
    if compared.told:
        repository.add_reason(study_uid, study.generation, compared.told)
    log.info("study_planned", study_uid=study_uid, generation=study.generation, jobs=len(jobs))
    fault_point(FaultPoint.PLANNED)
    for key in keys:
        waker.predict(key)


def _rejected(repository: Repository, study_uid: str) -> str:
    """Why nothing is left to read, if notes rejected images of the study, or ""."""
    rejected = [one for one in repository.rejected_instances(study_uid) if one.received]
    notes = dict.fromkeys(f"note {one.note_uid} ({one.code.told})" for one in rejected)
    images = len({one.sop_instance_uid for one in rejected})
    return f"nothing is left to read: {images} instances were rejected by {', '.join(notes)}" if rejected else ""


def _with_patients(instances: list[Instance], repository: Repository, folder: DataFolder) -> list[Instance]:
    """The instances, each image with its patient: one that was received before rows kept it says it in its file."""
    unknown = [image.path for image in images_of(instances) if image.patient is None]
    if not unknown:
        return instances
    headers = {path: read_file_header(folder.absolute(path), PATIENT_KEYWORDS)[1] for path in unknown}
    study_uid = instances[0].study_uid
    repository.record_patients(study_uid, {path: patient_of(header) for path, header in headers.items()})
    return repository.instances(study_uid)


def _as_is(study: Study, found: Disagreement, repository: Repository) -> bool:
    """Whether a person wants each series of this generation read under its own patient, and each has one."""
    readings = repository.as_is_readings(study.study_uid)
    return not found.within and any(one.generation == study.generation for one in readings)


def _jobs(
    study: Study,
    header: StudyHeader,
    plan: Plan,
    instances: Sequence[Instance],
    repository: Repository,
    folder: DataFolder,
    planner: Planner,
) -> list[JobPlan]:
    """A job for each match and predictor, each with the earlier result that it is compared with."""
    images = {found.series_uid: images_of(instances, found.series_uid) for found in plan.matches}
    kinds = {uid: read_series_kind(folder.absolute(min(one.path for one in held))) for uid, held in images.items()}
    archived = ArchivedResults(planner.archives, repository.objects_known_here, planner.archives_deadline_s)
    search = PriorSearch(repository, folder, archived, reread=study.reread)
    jobs = []
    asking = ((found, *part) for found in plan.matches for part in found.protocol.by_predictor())
    for found, predictor, protocol in asking:
        uid = found.series_uid
        asked = (study.study_uid, uid, inputs_of(images[uid]), protocol)
        wanted = Wanted(
            study_uid=study.study_uid,
            patients=tuple(dict.fromkeys(one.patient for one in images[uid] if one.patient is not None)),
            kind=kinds[uid],
            questions=protocol.questions,
            beside=tuple(
                kinds[other.series_uid]
                for other in plan.matches
                if other.protocol.name == found.protocol.name and other.series_uid != uid
            ),
        )
        plain = planner.job(*asked, kind=kinds[uid], predictor=predictor)
        prior = search.prior_for(plain, wanted, protocol.limits.prior_deadline_s)
        jobs.append(planner.job(*asked, prior, kinds[uid], planner.priority(header, protocol), predictor))
    return jobs


def _summary(plan: Plan, series: Mapping[str, SeriesHeader]) -> str:
    """Which protocol matched which series; where none did, what the nearest ones say."""
    if plan.matches:
        described = {uid: named(one.series_description) or uid for uid, one in series.items()}
        return ", ".join(f"{one.protocol.name} matched series {described[one.series_uid]}" for one in plan.matches)
    return told_unmatched(plan.verdicts)
