"""What every route uses: the node behind the pages, and how a page is made from its template."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastapi import Request
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from starlette.responses import HTMLResponse

from workflows.web.access import Permission, Person, base_path_of, node_of
from workflows.web.dates import day_of, moment_utc

__all__ = ["Link", "node_of", "person_name", "render", "templates"]


@dataclass(frozen=True)
class Link:
    """A page that the bar on top leads to, for those who may."""

    name: str
    path: str
    page: str
    needs: Permission


LINKS = (
    Link("Worklist", "/worklist", "worklist", Permission.LOOK),
    Link("Agreement", "/agreement", "agreement", Permission.AGREEMENT),
    Link("Rules", "/rules", "rules", Permission.OPERATE),
    Link("Operate", "/operate", "operate", Permission.OPERATE),
    Link("Audit", "/audit", "audit", Permission.ADMINISTER),
    Link("Users", "/users", "users", Permission.ADMINISTER),
)


def render(request: Request, template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """A page. Every template knows `person`, `base` (the path below which the pages lie) and `page`, its name.

    `may("REVIEW")`: whether the person has that Permission. `links`: the pages that the person may open.
    """
    person: Person | None = getattr(request.state, "person", None)
    base = base_path_of(request)

    def may(permission: str) -> bool:
        return person is not None and person.may(Permission[permission])

    links = [link for link in LINKS if person is not None and person.may(link.needs)]
    known = {"person": person, "base": base, "page": template.removesuffix(".html"), "may": may, "links": links}
    text = request.app.state.templates.get_template(template).render({**known, **values})
    return HTMLResponse(text, status, headers={"Cache-Control": "no-store"})


def templates() -> Environment:
    """The templates; whatever comes from outside is escaped."""
    environment = Environment(
        loader=PackageLoader("workflows.web"),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(person_name=person_name, day=day_of, moment_utc=moment_utc)
    return environment


def person_name(name: str) -> str:
    """A person name (PS3.5 6.2, VR PN) for people: `Family^Given` becomes `Family, Given`.

    Of several groups the first that is not empty counts.
    """
    group = next((group for group in name.split("=") if group.strip("^ ")), "")
    family, _, rest = group.partition("^")
    given = " ".join(part for part in rest.split("^")[:2] if part.strip())
    return ", ".join(part for part in (family.strip(), given.strip()) if part) or name
