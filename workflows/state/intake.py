"""Studies and their instances: received, held or failed before any job was planned, opened anew."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from dicom_node.headers.patient import Patient, changes
from dicom_node.headers.rejection import RejectionCode
from workflows.state.audit import add_audit
from workflows.state.columns import patient_for_columns, text_column
from workflows.state.completion import comes_late, displaced, tell_late
from workflows.state.held import THERE, held, instances_of
from workflows.state.missing import back_in_store, lost_reason, removed_of, want_back
from workflows.state.records import Instance, NewInstance, Study
from workflows.state.requeueing import Requeueing
from workflows.state.retrying import TroubleKind
from workflows.state.states import RESULTS_STAND, RetractionState, StudyState
from workflows.state.tables import AsIsRow, Base, InstanceRow, ResultObjectRow, RetractionRow, SeriesRow, StudyRow
from workflows.state.transactions import in_portions

__all__ = ["Intake"]

_NAMED = 3
_STUDIES_AT_ONCE = 200
_DEFECTS = 2


class Intake(Requeueing):
    """Transactions of receiving, and of studies that have no jobs yet."""

    def own_results(self, sop_instance_uids: Sequence[str]) -> set[str]:
        """Which of these instances are our saved results."""
        with self._reading() as session:
            saved = ResultObjectRow.sop_instance_uid
            found = (session.scalars(select(saved).where(saved.in_(some))) for some in in_portions(sop_instance_uids))
            return {uid for uids in found for uid in uids}

    def record_instances(self, new: Sequence[NewInstance], quiet_period_s: Callable[[str], float]) -> list[str | None]:
        """Index stored instances in one transaction; return for each the path that it replaces, if its bytes changed.

        An identical instance changes nothing. A new image opens a new generation of a study that was already complete;
        what is no image (a report, a presentation state, another's segmentation) is kept and opens none. A study is
        complete once nothing has come for the `quiet_period_s` of its source. Where an instance comes again and names
        another patient, results that were made from what it replaces are marked to be retracted.

        Raises RowRefused for what no row can hold: all of it, so a caller takes them in parts then.
        """
        new = [_for_columns(one) for one in new]
        now = self._clock()
        with self._writing() as session:
            studies = _locked_studies(session, new, now)
            rows = _known_rows(session, new)
            for study in studies.values():  # whatever comes of a study, what failed in passing is tried again
                self._restart_failed(session, study, now)
            _ensure_series(session, new)
            quiet = {
                source: timedelta(seconds=quiet_period_s(source)) for source in {one.calling_ae_title for one in new}
            }
            return [
                self._record(session, studies[one.study_uid], rows, one, quiet[one.calling_ae_title], now)
                for one in new
            ]

    def _record(
        self,
        session: Session,
        study: StudyRow,
        rows: dict[_InstanceKey, InstanceRow],
        new: NewInstance,
        quiet: timedelta,
        now: datetime,
    ) -> str | None:
        row = rows.get(_key_of(new))
        lost = row is not None and row.lost_at is not None
        removed = row is not None and row.removed_at is not None
        if row is not None and row.digest == new.digest:
            if removed and study.state is not StudyState.RECEIVING:
                back_in_store(study, row, new, now)
                return None
            if not (lost or removed):
                # The store makes a second file of the same bytes only where the first is gone, or damaged.
                before, row.path = row.path, str(new.path)
                return before if before != row.path else None
            if study.state in RESULTS_STAND - {StudyState.FAILED}:
                row.path, row.lost_at, row.lost_reason = str(new.path), None, ""
                return None
        late = comes_late(study, row, new)
        # A study that is FAILED lacked what was lost.
        opens = (new.image and not late) or (lost and study.state is StudyState.FAILED)
        if opens and study.state is not StudyState.RECEIVING:
            study.generation += 1
            self._set_study(study, StudyState.RECEIVING, now)
        if study.state is StudyState.RECEIVING:
            study.last_received_at, study.wake_at = now, now + quiet
            study.source_ae_title = new.calling_ae_title
            study.reason = _receiving_reason(study, quiet, lost)
        study.accession_number = study.accession_number or new.accession_number
        replaced = None if row is None else displaced(row, new, study, late=late)
        if row is not None:
            self._retract_for_correction(session, row.patient, new, now)
        if row is None:
            row = InstanceRow(study_uid=new.study_uid, series_uid=new.series_uid, sop_instance_uid=new.sop_instance_uid)
            rows[_key_of(new)] = row
        row.sop_class_uid, row.transfer_syntax_uid = new.sop_class_uid, new.transfer_syntax_uid
        row.path, row.bytes, row.digest = str(new.path), new.bytes, new.digest
        row.calling_ae_title, row.generation, row.received_at = new.calling_ae_title, study.generation + late, now
        row.patient, row.lost_at, row.lost_reason, row.removed_at = new.patient, None, "", None
        session.add(row)
        if late:
            tell_late(session, study)
        return replaced

    def _retract_for_correction(
        self, session: Session, before: Patient | None, new: NewInstance, now: datetime
    ) -> None:
        """Mark what was made from an instance that names another patient now than it did.

        The reason goes into a rejection note, so into the study of one of them: it names attributes and no values.
        """
        if before is None or new.patient is None or (changed := changes(before, new.patient)) is None:
            return
        reason = f"image {new.sop_instance_uid} came again with another {changed}"
        right = (f"{new.sop_instance_uid}:{new.digest}",)
        images, code = [new.sop_instance_uid], RejectionCode.PATIENT_SAFETY
        self._mark_to_retract(session, new.study_uid, images, reason, now, right=right, code=code)

    def lose_instances(self, study_uid: str, paths: Sequence[str], reason: str = "") -> None:
        """Mark instances of a study whose files are gone from the store, or damaged; `reason`: why, where it is known.

        Their rows stay: a study that lacks one does not complete, it fails and says which to send again. What was read
        already stands; a study that was still to be read opens a new generation. They are asked for again. What
        retention removed is not lost.
        """
        now = self._clock()
        with self._writing() as session:
            study = session.get_one(StudyRow, study_uid, with_for_update=True)
            for portion in in_portions(paths):
                gone = (InstanceRow.study_uid == study_uid, InstanceRow.path.in_(portion), *THERE)
                session.execute(update(InstanceRow).where(*gone).values(lost_at=now, lost_reason=reason))
            lost = session.scalars(instances_of(study_uid, lost=True).limit(_NAMED)).all()
            if study.state in RESULTS_STAND or not lost:
                return
            want_back(session, study_uid, now)
            if study.state is not StudyState.RECEIVING:
                study.generation += 1
                self._set_study(study, StudyState.RECEIVING, now)  # and look at it at once
            study.reason = lost_reason(lost, self._count(session, *held(study_uid, lost=True)))

    def held_studies(self) -> Iterator[tuple[str, list[Instance]]]:
        """Each study with its instances whose files are there, rejected ones too; in order of UID, one at a time."""
        after = ""
        while True:
            with self._reading() as session:
                later = select(StudyRow.study_uid).where(StudyRow.study_uid > after).order_by(StudyRow.study_uid)
                uids = list(session.scalars(later.limit(_STUDIES_AT_ONCE)))
            if not uids:
                return
            for uid in uids:
                yield uid, self._with_files(uid)
            after = uids[-1]

    def _with_files(self, study_uid: str) -> list[Instance]:
        there = (InstanceRow.study_uid == study_uid, *THERE)
        with self._reading() as session:
            return [row.record() for row in session.scalars(select(InstanceRow).where(*there))]

    def hold_plan(self, study_uid: str, generation: int, reason: str) -> None:
        """A complete study that cannot be planned now, and why. It stays COMPLETE and is woken again."""
        with self._writing() as session:
            study = session.get_one(StudyRow, study_uid, with_for_update=True)
            if study.state is StudyState.COMPLETE and study.generation == generation:
                study.reason = reason

    def fail_study(self, study_uid: str, generation: int, reason: str) -> None:
        """A complete study that cannot be planned at all."""
        with self._writing() as session:
            study = session.get_one(StudyRow, study_uid, with_for_update=True)
            if study.state is StudyState.COMPLETE and study.generation == generation:
                study.reason = reason
                self._set_study(study, StudyState.FAILED, self._clock())
                study.failure = TroubleKind.UNREADABLE

    def record_plan_defect(self, study_uid: str, reason: str) -> None:
        """The program failed at planning: tried once more, then the study fails with that reason."""
        with self._writing() as session:
            study = session.get_one(StudyRow, study_uid, with_for_update=True)
            if study.state is StudyState.COMPLETE:
                study.defects, study.reason = study.defects + 1, reason
                if study.defects >= _DEFECTS:
                    self._set_study(study, StudyState.FAILED, self._clock())
                    study.failure = TroubleKind.PLANNING

    def reopen(self, study_uid: str, reason: str, by: str = "") -> bool:
        """Let a study be planned again, as if it were new: COMPLETE in a new generation, answers compared by job key.

        `by`: the person who wants it, "" where the node does.

        False: the study is still being received or waits to be planned, or lacks instances, which were lost or removed;
        nothing is changed.
        """
        with self._writing() as session:
            study = session.get_one(StudyRow, study_uid, with_for_update=True)
            opened = self._reopen(session, study, reason)
            if opened and by:
                add_audit(session, self._clock(), by, "reread", study_uid)
            return opened

    def reopen_as_is(self, study_uid: str, generation: int, by: str) -> bool:
        """Let a HELD study be planned with each series under its own patient, in the new generation only; kept is who.

        False: the study is not held in that generation any more, or lacks instances; nothing is changed.
        """
        with self._writing() as session:
            study = session.get_one(StudyRow, study_uid, with_for_update=True)
            held = study.state is StudyState.HELD and study.generation == generation
            if not (held and self._reopen(session, study, f"{by} wants it read as it is")):
                return False
            wanted = AsIsRow(
                study_uid=study_uid, generation=study.generation, wanted_by=by[:256], wanted_at=self._clock()
            )
            session.add(wanted)
            add_audit(session, self._clock(), by, "reread", study_uid, {"as_is": 1})
            return True

    def _reopen(self, session: Session, study: StudyRow, reason: str) -> bool:
        lost = self._count(session, *held(study.study_uid, lost=True))
        removed = self._count(session, *removed_of(study.study_uid))
        if study.state in (StudyState.RECEIVING, StudyState.COMPLETE) or lost or removed:
            return False
        study.generation, study.reread, study.defects = study.generation + 1, True, 0
        study.reason, study.attention = reason, ""  # a person has looked
        again = (RetractionState.FAILED, RetractionState.KEPT)
        retractions = select(RetractionRow).join(
            ResultObjectRow, ResultObjectRow.sop_instance_uid == RetractionRow.sop_instance_uid
        )
        mine = (RetractionRow.study_uid == study.study_uid, RetractionRow.state.in_(again))
        for row in session.scalars(retractions.where(*mine, ResultObjectRow.reviewed_by == "")):
            row.state, row.told, row.wake_at = RetractionState.WANTED, "", self._clock()
        self._set_study(study, StudyState.COMPLETE, self._clock())
        return True

    def instances(self, study_uid: str) -> list[Instance]:
        """The instances of a study that are there and not rejected, ordered by series and instance UID."""
        with self._reading() as session:
            return [row.record() for row in session.scalars(instances_of(study_uid))]

    def instance(self, study_uid: str, series_uid: str, sop_instance_uid: str) -> Instance | None:
        """The row of one instance, lost or not; None if it was never indexed."""
        with self._reading() as session:
            row = session.get(InstanceRow, (study_uid, series_uid, sop_instance_uid))
            return None if row is None else row.record()

    def lost_instances(self, study_uid: str) -> list[Instance]:
        """The instances of a study that were acknowledged and whose files are gone."""
        with self._reading() as session:
            return [row.record() for row in session.scalars(instances_of(study_uid, lost=True))]

    def newest_instances(self, limit: int) -> list[Instance]:
        """Some instances that came last and are there, as far as is known."""
        with self._reading() as session:
            newest = select(StudyRow.study_uid).order_by(StudyRow.last_received_at.desc()).limit(limit)
            uids = list(session.scalars(newest))
            found = [session.scalars(instances_of(uid).limit(limit)).all() for uid in uids]
            return [row.record() for rows in found for row in rows][:limit]

    def study(self, study_uid: str) -> Study | None:
        """A study, or None if it was never received here."""
        with self._reading() as session:
            row = session.scalars(select(StudyRow).where(StudyRow.study_uid == study_uid)).one_or_none()
            return None if row is None else row.record()


_InstanceKey = tuple[str, str, str]
"""Study, series and SOP Instance UID."""


def _key_of(new: NewInstance) -> _InstanceKey:
    return new.study_uid, new.series_uid, new.sop_instance_uid


def _for_columns(new: NewInstance) -> NewInstance:
    """The header's values as columns can hold them, so that they compare with what a row has."""
    return replace(
        new,
        modality=text_column(new.modality, 16),
        series_description=text_column(new.series_description, 256),
        accession_number=text_column(new.accession_number, 64),
        calling_ae_title=text_column(new.calling_ae_title, 16),
        patient=None if new.patient is None else patient_for_columns(new.patient),
    )


def _locked_studies(session: Session, new: Sequence[NewInstance], now: datetime) -> dict[str, StudyRow]:
    """The studies of these instances, made where they are missing, locked in the order of their UIDs.

    Whoever takes several takes them in that order, so nobody waits in a circle; and what is to be inserted is inserted
    before anything is locked.
    """
    first = {one.study_uid: one for one in reversed(new)}
    uids = sorted(first)
    known: set[str] = set()
    for portion in in_portions(uids):
        known.update(session.scalars(select(StudyRow.study_uid).where(StudyRow.study_uid.in_(portion))))
    _insert(session, StudyRow, [_new_study(first[uid], now) for uid in uids if uid not in known])
    studies: dict[str, StudyRow] = {}
    for portion in in_portions(uids):
        rows = select(StudyRow).where(StudyRow.study_uid.in_(portion)).order_by(StudyRow.study_uid)
        studies.update((row.study_uid, row) for row in session.scalars(rows.with_for_update()))
    return studies


def _known_rows(session: Session, new: Sequence[NewInstance]) -> dict[_InstanceKey, InstanceRow]:
    by_series: dict[tuple[str, str], list[str]] = defaultdict(list)
    for one in new:
        by_series[one.study_uid, one.series_uid].append(one.sop_instance_uid)
    rows: dict[_InstanceKey, InstanceRow] = {}
    for (study_uid, series_uid), uids in by_series.items():
        of_series = (InstanceRow.study_uid == study_uid, InstanceRow.series_uid == series_uid)
        for portion in in_portions(uids):
            chosen = select(InstanceRow).where(*of_series, InstanceRow.sop_instance_uid.in_(portion))
            rows.update(((study_uid, series_uid, row.sop_instance_uid), row) for row in session.scalars(chosen))
    return rows


def _new_study(new: NewInstance, now: datetime) -> dict[str, Any]:
    return {
        "study_uid": new.study_uid,
        "state": StudyState.RECEIVING,
        "first_received_at": now,
        "last_received_at": now,
        "changed_at": now,
        "wake_at": now,
        "accession_number": new.accession_number,
        "source_ae_title": new.calling_ae_title,
    }


def _ensure_series(session: Session, new: Sequence[NewInstance]) -> None:
    first = {(one.study_uid, one.series_uid): one for one in reversed(new)}
    studies = sorted({study_uid for study_uid, _series_uid in first})
    known: set[tuple[str, str]] = set()
    for portion in in_portions(studies):
        of_studies = select(SeriesRow.study_uid, SeriesRow.series_uid).where(SeriesRow.study_uid.in_(portion))
        known.update((study_uid, series_uid) for study_uid, series_uid in session.execute(of_studies))
    missing = [
        {
            "study_uid": one.study_uid,
            "series_uid": one.series_uid,
            "modality": one.modality,
            "series_description": one.series_description,
        }
        for key, one in sorted(first.items())
        if key not in known
    ]
    _insert(session, SeriesRow, missing)


def _insert(session: Session, row: type[Base], values: Sequence[dict[str, Any]]) -> None:
    """Insert rows; those that another process was quicker to insert stay as they are."""
    if values:
        insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
        session.execute(insert(row.__table__).on_conflict_do_nothing(), values)  # type: ignore[arg-type]


def _receiving_reason(study: StudyRow, quiet: timedelta, lost: bool) -> str:
    waits = f"complete once nothing new comes from {study.source_ae_title} for {quiet.total_seconds():g} s"
    if study.generation == 1:
        return waits
    opener = "an instance that was lost and came again" if lost else "a new instance"
    return f"generation {study.generation} opened by {opener}; {waits}"
