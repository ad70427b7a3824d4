"""The search for the earlier result of each job that is planned: what stands, the database, then the archives."""

from __future__ import annotations

from dataclasses import replace

import structlog

from workflows.data_folder import DataFolder
from workflows.state.records import JobPlan, Prior
from workflows.state.repository import Repository
from workflows.steps.archived_priors import ArchivedResults
from workflows.steps.priors import Choice, Wanted, candidate_of, choose

__all__ = ["PriorSearch"]

log = structlog.get_logger()


class PriorSearch:
    """Finds earlier results for the jobs of one study.

    A job that stands keeps what it was compared with, though a newer earlier result turned up: a late image of another
    series would else have it read again, and its results replaced in the archive, by themselves. `reread` asks anew. So
    does a job whose earlier result is to be retracted.
    """

    def __init__(self, repository: Repository, folder: DataFolder, archived: ArchivedResults, *, reread: bool) -> None:
        self._repository, self._folder, self._archived, self._reread = repository, folder, archived, reread

    def prior_for(self, plan: JobPlan, wanted: Wanted, deadline_s: float | None = None) -> Prior | None:
        """The earlier result for a job as it would be planned without one; None: there is none, and nothing to say.

        `deadline_s`: how long archives are asked; None: as long as usual.
        """
        standing = self._repository.standing_job(wanted.study_uid, plan)
        if standing is not None and not self._reread:
            return standing.prior
        if not wanted.patient.patient_id:
            return None
        choice = self._in_database(wanted, plan.protocol)
        if choice.prior is None and wanted.kind.date is not None:
            found = self._archived.of(wanted, deadline_s)
            archived = choose(wanted, found.candidates)
            choice = Choice(archived.prior, (*choice.reasons, *found.reasons, *archived.reasons))
            kept = None if standing is None else standing.prior
            if choice.prior is None and not found.complete and kept is not None and kept.sop_instance_uid is not None:
                return kept  # who cannot be asked has not taken it back
        note = "; ".join(dict.fromkeys(choice.reasons))
        if choice.prior is None and not note:
            return None
        log.info("prior", study_uid=wanted.study_uid, series_uid=plan.series_uid, found=choice.prior is not None)
        return replace(choice.prior or Prior(None), note=note)

    def _in_database(self, wanted: Wanted, protocol: str) -> Choice:
        earlier = self._repository.earlier_jobs(wanted.study_uid, wanted.patient.patient_id, protocol)
        if earlier and wanted.kind.date is None:
            return Choice(None, ("this study has no date, so none of the patient's results is known to be earlier",))
        return choose(wanted, [candidate_of(one, self._folder) for one in earlier])
