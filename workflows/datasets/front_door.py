"""The front door of MedSeg-QA's review page: the gate of the node's pages, and a link that works once.

It needs no account: who has started the command gets the link on their terminal, and nobody else on the machine does.
"""

from __future__ import annotations

from typing import Any

__all__ = ["behind_front_door"]


def behind_front_door(page: Any, host: str) -> tuple[Any, str]:
    """A page with the gate before it, and the path that lets one browser in, once."""
    from workflows.web.gate import Gate
    from workflows.web.hosts import Hosts
    from workflows.web.one_link import OneLinkDoor, draw_plainly

    door = OneLinkDoor()
    return Gate(page, door=door, hosts=Hosts((host,)), draw=draw_plainly), door.path
