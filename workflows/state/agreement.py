"""Agreement: written reviews are counted once each, so that ten thousand of them are summed up at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import and_, delete, exists, func, select

from workflows.state.agreeing import AgreementCase, AgreementFilter
from workflows.state.agreement_tables import AgreementReviewRow, AgreementRow
from workflows.state.review_tables import ReviewRow
from workflows.state.reviewing import Review, ReviewState
from workflows.state.tables import StudyRow
from workflows.state.transactions import Transactions

__all__ = ["Agreement"]

_COLUMNS = (
    AgreementRow.written_at, AgreementRow.question, AgreementRow.finding, AgreementRow.protocol, AgreementRow.weights,
    AgreementRow.scanner, AgreementRow.kind, AgreementRow.dice, AgreementRow.before_ml, AgreementRow.after_ml,
)  # fmt: skip


class Agreement(Transactions):
    """Transactions of agreement."""

    def uncounted_reviews(self, limit: int) -> list[Review]:
        """Written reviews that were not counted yet, the earliest first; of a study only its last one counts."""
        with self._reading() as session:
            found = select(ReviewRow).where(*_uncounted()).order_by(ReviewRow.written_at, ReviewRow.study_uid)
            return [row.record() for row in session.scalars(found.limit(limit))]

    def count_review(self, review: Review, cases: Sequence[AgreementCase]) -> bool:
        """Put a review's cases in place of those of an earlier review of the study. False: the study is gone."""
        with self._writing() as session:
            if session.get(StudyRow, review.study_uid, with_for_update=True) is None:
                return False
            row = session.get(AgreementReviewRow, review.study_uid)
            if row is not None and row.number > review.number:
                return True
            session.execute(delete(AgreementRow).where(AgreementRow.study_uid == review.study_uid))
            session.merge(
                AgreementReviewRow(study_uid=review.study_uid, number=review.number, counted_at=self._clock())
            )
            session.add_all(_row(review, ordinal, case) for ordinal, case in enumerate(cases))
            return True

    def last_written_reviews(self) -> list[Review]:
        """The review of each study that counts, by study."""
        with self._reading() as session:
            same = and_(
                AgreementReviewRow.study_uid == ReviewRow.study_uid, AgreementReviewRow.number == ReviewRow.number
            )
            rows = session.scalars(select(ReviewRow).join(AgreementReviewRow, same).order_by(ReviewRow.study_uid))
            return [row.record() for row in rows]

    def counted_reviews(self) -> int:
        """How many reviews were counted, one a study."""
        with self._reading() as session:
            return self._count(session, AgreementReviewRow.number > 0)

    def agreement_cases(self, chosen: AgreementFilter | None = None) -> list[AgreementCase]:
        """The cases of a filter, the earliest first."""
        with self._reading() as session:
            rows = select(AgreementRow.study_uid, *_COLUMNS).where(*_criteria(chosen or AgreementFilter()))
            rows = rows.order_by(AgreementRow.written_at, AgreementRow.study_uid, AgreementRow.ordinal)
            numbers: dict[str, int] = {}
            return [
                AgreementCase(numbers.setdefault(study_uid, len(numbers) + 1), *said)
                for study_uid, *said in session.connection().execute(rows)  # plain rows: there are many
            ]

    def agreement_version(self) -> str:
        """Another text whenever other reviews are counted than before."""
        counted = func.count(), func.max(AgreementReviewRow.counted_at), func.sum(AgreementReviewRow.number)
        with self._reading() as session:
            return "/".join(str(one) for one in session.execute(select(*counted)).one())


def _uncounted() -> tuple[Any, ...]:
    counted = and_(AgreementReviewRow.study_uid == ReviewRow.study_uid, AgreementReviewRow.number >= ReviewRow.number)
    return ReviewRow.state == ReviewState.WRITTEN, ~exists().where(counted)


def _row(review: Review, ordinal: int, case: AgreementCase) -> AgreementRow:
    return AgreementRow(
        study_uid=review.study_uid,
        ordinal=ordinal,
        written_at=case.written_at,
        question=case.question,
        finding=case.finding,
        protocol=case.protocol,
        weights=case.weights,
        scanner=case.scanner,
        kind=case.kind,
        dice=case.dice,
        before_ml=case.before_ml,
        after_ml=case.after_ml,
    )


def _criteria(chosen: AgreementFilter) -> list[Any]:
    wanted: dict[Any, str | None] = {
        AgreementRow.question: chosen.question,
        AgreementRow.finding: chosen.finding,
        AgreementRow.protocol: chosen.protocol,
        AgreementRow.weights: chosen.weights,
        AgreementRow.scanner: chosen.scanner,
    }
    criteria = [column == value for column, value in wanted.items() if value is not None]
    if chosen.since is not None:
        criteria.append(AgreementRow.written_at >= chosen.since)
    if chosen.until is not None:
        criteria.append(AgreementRow.written_at < chosen.until)
    return criteria
