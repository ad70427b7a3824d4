"""Corrected masks: which there are of a study, who made each, and where its file lies."""

from __future__ import annotations

from sqlalchemy import select

from workflows.state.audit import add_audit
from workflows.state.review_tables import CorrectionRow
from workflows.state.reviewing import Correction
from workflows.state.tables import StudyRow
from workflows.state.transactions import Transactions

__all__ = ["Corrections"]


class Corrections(Transactions):
    """Transactions of corrected masks. `steps/corrections.py` has their files."""

    def save_correction(self, correction: Correction) -> bool:
        """Record a mask whose file is written; one that is known stays as it is, with who made it first.

        False: the study is not known any more, and the file belongs to nothing.
        """
        with self._writing() as session:
            if session.get(StudyRow, correction.study_uid, with_for_update=True) is None:
                return False
            if session.get(CorrectionRow, (correction.study_uid, correction.digest)) is None:
                session.add(
                    CorrectionRow(
                        study_uid=correction.study_uid,
                        digest=correction.digest,
                        job_key=correction.job_key,
                        part=correction.part,
                        path=str(correction.path),
                        made_by=correction.made_by,
                        made_at=correction.made_at,
                        voxels=correction.voxels,
                        proposal=correction.proposal,
                    )
                )
                if correction.proposal is None:  # what others made is told when somebody confirms it
                    subject = f"{correction.study_uid}/{correction.job_key}"
                    counts = {"voxels": correction.voxels}
                    add_audit(session, self._clock(), correction.made_by, "correct", subject, counts)
            return True

    def correction(self, study_uid: str, digest: str) -> Correction | None:
        """One corrected mask of a study, or None."""
        with self._reading() as session:
            row = session.get(CorrectionRow, (study_uid, digest))
            return None if row is None else row.record()

    def corrections(self, study_uid: str) -> list[Correction]:
        """All corrected masks of a study, the first made first."""
        with self._reading() as session:
            chosen = select(CorrectionRow).where(CorrectionRow.study_uid == study_uid)
            rows = session.scalars(chosen.order_by(CorrectionRow.made_at, CorrectionRow.digest))
            return [row.record() for row in rows]
