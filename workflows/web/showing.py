"""The one `Showing` of an application, made when it is first asked for."""

from __future__ import annotations

import threading

from fastapi import HTTPException, Request

from workflows.errors import NotShown
from workflows.state.records import Job
from workflows.state.views import JobView
from workflows.steps.fetch_shown import FetchedImages
from workflows.steps.showing import Showing
from workflows.web.auditing import looked
from workflows.web.rendering import node_of

__all__ = ["job_of", "job_view_of", "not_shown", "showing_of"]

_lock = threading.Lock()
_STATUS = {"fetching": 409, "gone": 410, "damaged": 410, "refused": 422}


def showing_of(request: Request) -> Showing:
    """Slices and masks, cached for all readers of this process."""
    state = request.app.state
    with _lock:
        found = getattr(state, "showing", None)
        if found is None:
            node = node_of(request)
            fetched = FetchedImages(node.folder, node.sources_of)
            found = state.showing = Showing(node.repository, node.folder, fetched)
    assert isinstance(found, Showing)
    return found


def job_view_of(request: Request, study_uid: str, job_key: str) -> JobView:
    """A job of a study with its objects, for a person who is shown something of it. Raises 404."""
    found = node_of(request).repository.job_view(study_uid, job_key)
    if found is None:
        raise HTTPException(404, "This result is not here any more; go back to the worklist, or load the page again.")
    looked(request, study_uid)
    return found


def job_of(request: Request, study_uid: str, job_key: str) -> Job:
    """The job alone. Raises 404."""
    return job_view_of(request, study_uid, job_key).job


def not_shown(error: NotShown) -> HTTPException:
    """The answer for a picture that cannot be shown: 409 while it is fetched, 410 gone or damaged, 422 refused."""
    return HTTPException(_STATUS[error.why], str(error))
