"""Who may do what in the pages is told to hospital IT as the code has it."""

from __future__ import annotations

import importlib.util
from pathlib import Path


def test_the_table_of_permissions_is_what_the_code_says() -> None:
    spec = importlib.util.spec_from_file_location("permissions_table", Path(__file__).with_name("permissions_table.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    page = module.PAGE.read_text(encoding="utf-8")
    assert page == module.page_with_table(page), "refresh it: python tests/unit/docs/permissions_table.py"
