"""A study of the node, or uploaded files, against all reading protocols: what each says of each series, and why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse, RedirectResponse, Response

from dicom_node.headers.study import StudyHeader
from workflows.state.auditing import AuditAction
from workflows.state.views import Selection
from workflows.web.access import Permission, Person, base_path_of, needs
from workflows.web.auditing import looked, recorded
from workflows.web.bodies import takes_body
from workflows.web.node_rules import rules_of
from workflows.web.rendering import node_of, render
from workflows.web.rules_model import rule_path
from workflows.web.rules_trying import TriedStudy, try_study
from workflows.web.tried_studies import NotTried, read_uploads, study_of_node
from workflows.web.uploads import Upload, brought

__all__ = ["router"]

router = APIRouter(prefix="/rules/test")
_Operator = Annotated[Person, Depends(needs(Permission.OPERATE))]
_MOST_FILES = 100
_MOST_CHOICES = 50


@router.get("")
def page(request: Request, person: _Operator, study: str = "") -> HTMLResponse:
    """The form, and a study of the node where the address names one."""
    study = study.strip()
    if not study:
        return _page(request)
    try:
        header = study_of_node(node_of(request), study)
    except NotTried as error:
        return _page(request, 404, typed=study[:64], wrong=str(error))
    looked(request, study)
    return _page(request, typed=study, tried=_tried(request, [header]), here=study)


@router.post("")
def search(request: Request, person: _Operator, study: Annotated[str, Form(max_length=256)] = "") -> Response:
    """A study by its UID or accession number, which then stands in no address."""
    wanted = study.strip()
    if not wanted:
        return _page(request, 422, wrong="Type a Study Instance UID or an accession number.")
    recorded(request, AuditAction.SEARCH, "rules-test")
    repository = node_of(request).repository
    found = repository.study_uids(Selection(study_uid=wanted)) or repository.study_uids(
        Selection(accession_number=wanted)
    )
    if not found:
        return _page(request, 404, typed=wanted[:64], wrong="No study here has this UID or accession number.")
    if len(found) > 1:
        return _page(request, typed=wanted[:64], choices=found[:_MOST_CHOICES])
    return RedirectResponse(f"{base_path_of(request)}/rules/test?study={found[0]}", 303)


@router.post("/files")
@takes_body(megabytes=64)
async def files(request: Request, person: _Operator) -> HTMLResponse:
    """Uploaded DICOM files, of which the headers alone are read; nothing of them is kept."""
    form = await brought(request, _MOST_FILES)
    return await run_in_threadpool(_files, request, form.files)


def _files(request: Request, uploads: tuple[Upload, ...]) -> HTMLResponse:
    read = read_uploads(uploads)
    tried = _tried(request, read.studies)
    return render(request, "_tried.html", tried=tried, refused=read.refused, here="", rule_path=rule_path)


def _tried(request: Request, studies: Sequence[StudyHeader]) -> list[TriedStudy]:
    node = node_of(request)
    protocols = rules_of(request).protocols
    return [try_study(study, protocols, node.settings.protocols.at_most) for study in studies]


def _page(
    request: Request,
    status: int = 200,
    *,
    typed: str = "",
    wrong: str = "",
    tried: list[TriedStudy] | None = None,
    choices: list[str] | None = None,
    here: str = "",
) -> HTMLResponse:
    return render(
        request, "rules_test.html", status, typed=typed, wrong=wrong, tried=tried or [], choices=choices or [],
        refused=(), here=here, most_files=_MOST_FILES, rule_path=rule_path, page="rules",
    )  # fmt: skip
