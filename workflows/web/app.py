"""The application: every page's routes behind one front door, with what all of them share.

`rendering.py` has what every route uses.
"""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.responses import PlainTextResponse
from starlette.staticfiles import StaticFiles

from workflows.bootstrap import Node
from workflows.web.access import FrontDoor
from workflows.web.failures import draw_failure, handle_failures
from workflows.web.gate import Gate
from workflows.web.hosts import Hosts
from workflows.web.pages import (
    account,
    agreement,
    asking,
    audit,
    drawing,
    login,
    operate,
    provider,
    rules,
    rules_changing,
    rules_trying,
    slices,
    study,
    users,
    verdicts,
    worklist,
)
from workflows.web.rendering import templates
from workflows.web.sessions import OPEN_PATHS, is_open

__all__ = ["OPEN_PATHS", "STATIC", "create_app", "is_open", "routes_of_pages"]

STATIC = Path(__file__).parent / "static"

_PAGES = (
    login, provider, account, users, worklist, study, slices, drawing, verdicts, asking, agreement, operate, audit,
    rules_trying, rules_changing, rules,
)  # fmt: skip


def routes_of_pages() -> list[APIRoute]:
    """Every route of every page, in the order in which they are tried."""
    return [route for page in _PAGES for route in page.router.routes if isinstance(route, APIRoute)]


def create_app(node: Node, door: FrontDoor) -> FastAPI:
    """The application over one node. `door` decides who is asking, for every request."""
    app = FastAPI(title="MedSeg Node", docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    web = node.settings.web
    app.state.node = node
    app.state.templates = templates()
    handle_failures(app)
    app.add_middleware(
        Gate,
        door=door,
        hosts=Hosts((web.host, *web.hosts)),
        draw=draw_failure,
        routes=routes_of_pages(),
        base_path=web.base_path,
    )
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    for page in _PAGES:
        app.include_router(page.router)
    app.add_api_route("/healthz", lambda: PlainTextResponse("ok"), methods=["GET"])
    return app
