"""A node with studies that were read, and the pages over it, each reader known by a cookie."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from fastapi import Request
from fastapi.testclient import TestClient

from tests.scene import scene_node
from tests.services import await_true, free_port
from workflows.bootstrap import Node
from workflows.state.records import Job
from workflows.state.reviewing import FindingVerdict, VerdictKind
from workflows.state.reviews import Reviewer
from workflows.state.views import Selection
from workflows.state.waker import RecordingWaker
from workflows.steps.review import write_review
from workflows.web.access import FrontDoor, Person, Role
from workflows.web.app import create_app

UNDO_S = 600.0


class NamedDoor:
    """Lets everybody in as whom the cookie `who` names: viewers by that name, all others review."""

    async def admit(self, request: Request) -> Person | None:
        who = request.cookies.get("who", "alpha")
        if who == "nobody":
            return None
        role = Role.VIEWER if who == "viewer" else Role.REVIEWER
        return Person(who, f"Reader^{who.title()}", role, "token")


def copied(node: Node, folder: Path) -> Node:
    """A node on a copy of another's folder: what a test says no other sees."""
    shutil.copytree(node.folder.root, folder / "data")
    return scene_node(folder / "data", web={"undo_s": UNDO_S})


def client_as(node: Node, who: str) -> TestClient:
    return TestClient(create_app(node, NamedDoor()), base_url="http://127.0.0.1", cookies={"who": who})


def study_of(node: Node) -> str:
    (view, *_) = node.repository.study_views()
    return str(view.study.study_uid)


def volume_jobs(node: Node, study_uid: str) -> list[Job]:
    """Its jobs on more than one slice."""
    (view,) = node.repository.study_views(Selection(study_uid=study_uid))
    jobs = [node.repository.job(one.job.job_key) for one in view.jobs]
    return sorted((job for job in jobs if job.parts[0].slices > 1), key=lambda job: job.series_uid)


@contextmanager
def served(node: Node, door: FrontDoor | None = None) -> Iterator[str]:
    """The pages on loopback, behind a door of one's own or the named one; their address."""
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(create_app(node, door or NamedDoor()), port=port, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    await_true(lambda: server.started, "the pages are served")
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(timeout=10)


def write_signed(node: Node) -> None:
    """Write the signed review whose time to undo is over."""
    due = node.repository.next_review()
    assert due is not None
    write_review(*due, node.repository, node.folder, node.review_writer(), RecordingWaker())


def sign_and_write(node: Node, said: dict[str, tuple[VerdictKind, str | None]]) -> None:
    """A written review of the first study: of each label the verdict and the right name, all others accepted."""
    study_uid, who, repository = study_of(node), Reviewer("alpha", "Reader^Alpha"), node.repository
    subject = repository.review_subject(study_uid)
    assert subject is not None
    verdicts = []
    for place, label in subject.places.items():
        kind, rightly = said.get(label, (VerdictKind.ACCEPT, None))
        verdicts.append(FindingVerdict(place, kind, label=rightly))
    draft = repository.save_review(study_uid, who, None, verdicts, [])
    repository.sign_review(study_uid, who, (draft.number, draft.version), 0.0)
    write_signed(node)
