"""Words stay on the paper, however long and in whatever writing, and take no time to speak of."""

from __future__ import annotations

import pytest
from PIL import Image

from dicom_node.results.legend import WHITE, WIDTH, Line, on_paper, text_lines
from dicom_node.results.lettering import font, shown, wrapped

KILOBYTES_64 = 64 * 1024
ROOM = WIDTH - 32


@pytest.mark.parametrize("text", ["word " * 60, "x" * 400, "short", "", "a " + "y" * 200 + " b"])
def test_text_stays_on_the_paper_and_loses_no_letter(text) -> None:
    lines = [line.text for line in text_lines(text, WHITE, 18, most=100)]
    assert all(font(18).getlength(line) <= ROOM for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")


@pytest.mark.timeout(60)  # it did not end within minutes
@pytest.mark.parametrize("letters", ["i", "W", "肝臓に低吸収域", "ตับมีรอยโรค", "肝右叶低密度影", "word "])
def test_64_kilobytes_with_and_without_spaces_are_wrapped(letters) -> None:
    text = letters * (KILOBYTES_64 // len(letters.encode()))
    lines = list(wrapped(shown(text), 18, ROOM))
    assert "".join(lines).replace(" ", "") == shown(text).replace(" ", "")
    widest = max(font(18).getlength(line) for line in lines)
    assert ROOM - 120 < widest <= ROOM


def test_what_a_text_has_beyond_its_lines_is_counted() -> None:
    whole = list(wrapped("x" * KILOBYTES_64, 18, ROOM))
    lines = text_lines("x" * KILOBYTES_64, WHITE, 18, most=24)
    assert [line.text for line in lines[:24]] == whole[:24] and len(lines) == 25
    assert lines[24].text == f"{len(whole) - 24} more lines are left out here"
    assert text_lines("x " * 24, WHITE, 18, most=1)[-1].text == "x " * 23 + "x"


@pytest.mark.parametrize("share", [None, 0.5])
def test_a_line_that_nobody_wrapped_does_not_leave_the_paper(share) -> None:
    paper = on_paper(Image.new("RGB", (WIDTH, 8)), [Line("W" * KILOBYTES_64, "#ff0000", share=share)])
    red = [x for x in range(WIDTH) for y in range(8, paper.height) if paper.getpixel((x, y)) == (255, 0, 0)]
    assert red and max(red) < WIDTH - 16
    bare = on_paper(Image.new("RGB", (WIDTH, 8)), [Line("", "#ff0000", share=share)])
    behind = (WIDTH - 270, 8, WIDTH, paper.height)
    if share is not None:
        assert paper.crop(behind).tobytes() == bare.crop(behind).tobytes(), "the bar and its number stay free"


def test_one_line_that_is_left_out_is_told_so() -> None:
    assert text_lines("word " * 20, WHITE, 18, most=1)[-1].text == "1 more line is left out here"
