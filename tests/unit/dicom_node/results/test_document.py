"""The PDF says what the capture says, in text; its bytes depend on nothing but the job."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pydicom
import pypdfium2
import pytest

from dicom_node.errors import ResultRefused
from dicom_node.results.captures import content_pages
from dicom_node.results.document import build_document
from dicom_node.results.gate import check_companion
from dicom_node.results.page import PAPER, TextMark
from dicom_node.results.profiles import ResultKind
from dicom_node.results.report import build_report
from dicom_node.results.saving import save
from tests.unit.dicom_node.results.checkers import errors_of_dciodvfy, identity_of
from tests.unit.dicom_node.results.companions import COMPANION_KINDS, marked, phantom
from tests.unit.dicom_node.results.loading import only_part


def saved(part, context, path: Path, report=None) -> Path:
    save(build_document([part], context, identity_of([part]), [], report), path, identity_of([part]))
    return path


def pdf_of(path: Path) -> pypdfium2.PdfDocument:
    document = pydicom.dcmread(path)
    return pypdfium2.PdfDocument(document.EncapsulatedDocument[: document.EncapsulatedDocumentLength])


@pytest.mark.service("dcmtk")
@pytest.mark.parametrize("name", COMPANION_KINDS)
def test_every_kind_of_image_has_a_document(name, context, read, tmp_path) -> None:
    part = marked(phantom(name, tmp_path), read)
    path = saved(part, context(), tmp_path / "document.dcm")
    check_companion(path, ResultKind.DOCUMENT, [part], identity_of([part]))
    assert errors_of_dciodvfy(path) == []


def test_its_text_can_be_selected_and_is_the_summary(box_series, context, read, tmp_path) -> None:
    part = marked(only_part(box_series().files), read)
    pdf = pdf_of(saved(part, context(), tmp_path / "document.dcm"))
    pages = content_pages([part], context(), identity_of([part]), [], PAPER)
    assert len(pdf) == len(pages)
    for number, page in enumerate(pages):
        selected = " ".join(pdf[number].get_textpage().get_text_bounded().split())
        for mark in page:
            if isinstance(mark, TextMark):
                assert mark.text in selected
    # The pictures of findings are on the second page, in colour.
    picture = pdf[len(pdf) - 1].render(scale=1).to_numpy()
    assert (abs(picture[..., 0].astype(int) - picture[..., 2]) > 60).sum() > 100


def test_header_of_a_document(box_series, context, read, tmp_path) -> None:
    part = marked(only_part(box_series().files), read)
    report = build_report([part], [None], context())
    path = saved(part, context(), tmp_path / "document.dcm", report)
    check_companion(path, ResultKind.DOCUMENT, [part], identity_of([part]), (str(report.SOPInstanceUID),))
    document = pydicom.dcmread(path)
    assert (document.Modality, document.BurnedInAnnotation) == ("DOC", "YES")
    assert document.MIMETypeOfEncapsulatedDocument == "application/pdf"
    assert "RESEARCH USE ONLY" in document.DocumentTitle
    named = [item.ReferencedSOPInstanceUID for item in document.SourceInstanceSequence]
    assert named == [report.SOPInstanceUID, *(source.SOPInstanceUID for source in part.volume.sources)]
    with pytest.raises(ResultRefused, match="not of its job"):
        check_companion(path, ResultKind.DOCUMENT, [part], identity_of([part]))


@pytest.mark.parametrize(
    ("keyword", "value"),
    [("EncapsulatedDocumentLength", 1000), ("EncapsulatedDocument", b"<html>"), ("BurnedInAnnotation", "NO")],
)
def test_the_gate_refuses_a_document_whose(keyword, value, box_series, context, read, tmp_path) -> None:
    part = marked(only_part(box_series().files), read)
    document = pydicom.dcmread(saved(part, context(), tmp_path / "document.dcm"))
    setattr(document, keyword, value)
    document.save_as(tmp_path / "document.dcm")
    with pytest.raises(ResultRefused):
        check_companion(tmp_path / "document.dcm", ResultKind.DOCUMENT, [part], identity_of([part]))


_AGAIN = """
import sys
from datetime import datetime
from pathlib import Path
from dicom_node.results.finding import ReadAnswer, ReadPart, ResultContext
from dicom_node.results.document import build_document
from dicom_node.results.profiles import Profile
from dicom_node.results.saving import save
from dicom_node.results.codes import LABELS
from dicom_node.results.finding import Finding
from dicom_node.results.identity import own_texts, result_identity
from dicom_node.volumes.load import load_series
volume = load_series(sorted(Path(sys.argv[1]).iterdir())).parts[0]
finding = Finding("liver", LABELS["liver"], 0.5, volume.values > 3000, "liver 1", "1.2.3", ())
part = ReadPart(0, volume, (ReadAnswer("Is it?", "It is.", (finding,), ()),))
context = ResultContext(object_key="k", created=datetime(2026, 1, 2), algorithm_name="a", algorithm_version="1",
    weights_digest="ab", terms=None, protocol="p 1", station_ae_title="M", profile=Profile.PLAIN_PACS)
identity = result_identity(volume.identity, own_texts(part.answers))
save(build_document([part], context, identity, [], None), Path(sys.argv[2]), identity)
"""


@pytest.mark.slow
def test_the_same_bytes_in_another_process_whatever_its_hashes(box_series, tmp_path) -> None:
    files = box_series().files
    (tmp_path / "series").mkdir()
    for file in files:
        file.rename(tmp_path / "series" / file.name)
    made = []
    for seed in ("1", "2"):
        path = tmp_path / f"{seed}.dcm"
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)}
        subprocess.run([sys.executable, "-c", _AGAIN, tmp_path / "series", path], check=True, env=environment)
        made.append(path.read_bytes())
    assert made[0] == made[1]
