"""Words stay on the paper."""

from __future__ import annotations

import pytest
from PIL import ImageFont

from dicom_node.results.legend import WIDTH, wrapped


@pytest.mark.parametrize("text", ["word " * 60, "x" * 400, "short", "", "a " + "y" * 200 + " b"])
def test_text_stays_on_the_paper_and_loses_no_letter(text) -> None:
    lines = list(wrapped(text, 18))
    assert all(ImageFont.load_default(18).getlength(line) <= WIDTH - 32 for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
