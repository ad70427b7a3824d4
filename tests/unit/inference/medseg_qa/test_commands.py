"""The command medseg-qa: pictures, statistics, and what it says and leaves behind when something is wrong."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from inference.medseg_qa.builder import build
from inference.medseg_qa.commands import make_app
from inference.medseg_qa.plots import mask_colour, overlay
from inference.medseg_qa.records import read_records
from inference.medseg_qa.sources import open_source


def run(*arguments: object) -> Result:
    return CliRunner().invoke(make_app(), [str(argument) for argument in arguments])


@pytest.fixture
def built(make_images: Any, tmp_path: Path) -> Path:
    build(open_source(make_images()), tmp_path / "set")
    return tmp_path / "set"


def test_a_sample_is_printed_and_drawn_the_same_for_the_same_seed(built: Path, tmp_path: Path) -> None:
    result = run("sample", built, "--out", tmp_path / "a.png", "--count", 4, "--seed", 7)
    assert result.exit_code == 0 and result.output.count("btcv/case_") == 4
    assert result.output.count("\n  Q ") == result.output.count("\n  A ") >= 8 and "CC BY 4.0" in result.output
    run("sample", built, "--out", tmp_path / "b.png", "--count", 4, "--seed", 7)
    run("sample", built, "--out", tmp_path / "c.png", "--count", 4, "--seed", 8)
    first, again, other = ((tmp_path / name).read_bytes() for name in ("a.png", "b.png", "c.png"))
    assert first == again != other
    with Image.open(tmp_path / "a.png") as sheet:
        assert sheet.format == "PNG" and sheet.width > 1500 and sheet.height > 400


def test_an_overlay_colours_the_mask_and_nothing_else(built: Path) -> None:
    record = next(read_records(built))
    drawn = np.asarray(overlay(built, record, max(record.size)))
    plain = np.asarray(Image.open(built / record.image).convert("RGB"))
    masks = [np.asarray(Image.open(built / target.mask)) > 0 for target in record.targets]
    assert np.array_equal((drawn != plain).any(axis=2), np.any(masks, axis=0))
    assert len({mask_colour(number) for number in range(13)}) == 13


def test_a_sample_of_a_data_set_that_is_not_there_is_an_error(built: Path, tmp_path: Path) -> None:
    result = run("sample", built, "--out", tmp_path / "a.png", "--dataset", "acdc")
    assert result.exit_code == 2 and "no record of acdc" in result.output and not (tmp_path / "a.png").exists()


@pytest.mark.slow
def test_statistics_are_printed_as_json_and_plotted(built: Path, tmp_path: Path) -> None:
    result = run("stats", built, "--json", "--plot", tmp_path / "charts.png")
    found = json.loads(result.output)
    assert {"pairs", "turns", "absent_fraction", "distinct_question_fraction", "labels"} <= set(found)
    assert found["labels"]["liver"]["pairs"] == 6 and sum(found["mask_size"].values()) == 12
    with Image.open(tmp_path / "charts.png") as charts:
        assert charts.format == "PNG" and np.asarray(charts.convert("L")).std() > 5
    first = (tmp_path / "charts.png").read_bytes()
    run("stats", built, "--plot", tmp_path / "charts.png")
    assert (tmp_path / "charts.png").read_bytes() == first


def test_statistics_are_printed_as_tables(built: Path) -> None:
    result = run("stats", built)
    assert result.exit_code == 0
    for words in ("pairs: 12", "modality", "question_kind", "turns_per_conversation", "mask_size", "absent turns"):
        assert words in result.output


def test_a_folder_that_cannot_be_written_is_an_error_without_a_traceback(built: Path) -> None:
    for arguments in (("stats", built, "--plot", "/nowhere/a.png"), ("sample", built, "--out", "/nowhere/a.png")):
        result = run(*arguments)
        assert result.exit_code == 2 and "error: " in result.output and isinstance(result.exception, SystemExit)


def test_the_check_names_leaks_and_fails(built: Path) -> None:
    assert run("check", built).output.strip() == "0 leaks"
    lines = (built / "records.jsonl").read_text().replace('"split": "train"', '"split": "test"', 1)
    (built / "records.jsonl").write_text(lines)
    result = run("check", built)
    assert result.exit_code == 1 and "patient btcv/patient_0 is in" in result.output


@pytest.mark.slow
def test_a_disk_that_takes_no_more_leaves_nothing_half_written(make_images: Any, tmp_path: Path) -> None:
    """The kernel refuses to write beyond 4 kB of any file: the records no longer fit, as on a full disk."""
    images = make_images()
    finished = subprocess.run(
        [sys.executable, "-c", "from inference.medseg_qa.commands import make_app; make_app()()",
         "build", "--images", str(images), "--out", str(tmp_path / "out" / "set")],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert finished.returncode == 1, finished.stderr
    assert "cannot write" in finished.stderr and "free some room" in finished.stderr
    assert "Traceback" not in finished.stderr
    assert list((tmp_path / "out").iterdir()) == []


def test_a_build_says_what_it_left_out(make_images: Any, tmp_path: Path) -> None:
    images = make_images(change=lambda i, row: row.update(labels={"1": "liver", "2": "unicorn horn"}))
    result = run("build", "--images", images, "--out", tmp_path / "set")
    assert result.exit_code == 0 and "left out, unknown-label: 6 (case_0: unicorn horn;" in result.output
    allowed = run("build", "--images", images, "--out", tmp_path / "more", "--allow-unknown-labels")
    assert "12 image-mask pairs" in allowed.output and "left out" not in allowed.output
    again = run("build", "--images", images, "--out", tmp_path / "set")
    assert again.exit_code == 2 and "--force" in again.output
