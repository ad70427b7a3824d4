"""The table of who may do what in docs/hospital-it.md, from the code: python tests/unit/docs/permissions_table.py."""

from __future__ import annotations

import re
from pathlib import Path

from workflows.web.access import PERMISSIONS, Permission, Role

PAGE = Path(__file__).resolve().parents[3] / "docs" / "hospital-it.md"
_BLOCK = re.compile(r"(<!-- permissions[^\n]*-->\n).*?(<!-- end of permissions -->)", re.DOTALL)


def table() -> str:
    """The table: a row a permission, a column a role."""
    head = f"| | {' | '.join(role.value for role in Role)} |\n|---|{'---|' * len(Role)}\n"
    rows = [
        f"| {permission.value} | {' | '.join('yes' if permission in PERMISSIONS[role] else '' for role in Role)} |"
        for permission in Permission
    ]
    return head + "\n".join(rows) + "\n"


def page_with_table(page: str) -> str:
    """The page with today's table in its place."""
    assert _BLOCK.search(page), "docs/hospital-it.md has lost the marks of its table"
    return _BLOCK.sub(lambda block: f"{block[1]}\n{table()}\n{block[2]}", page)


if __name__ == "__main__":
    PAGE.write_text(page_with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
