"""Proposed corrections: SEGs of others that come in, as viewers save them, and as somebody hostile would."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.pixels.utils import pack_bits
from pydicom.uid import generate_uid

from dicom_node.results.mask_file import read_masks
from dicom_node.results.nifti_stream import VoxelGrid, grid_of, mask_stream
from dicom_node.storage.instance import ReceivedInstance
from dicom_node.storage.part10 import data_set_offset
from dicom_node.storage.placing import InspectedSource
from dicom_node.volumes.load import SeriesVolume, load_series
from tests.scene import make_scene, scene_node
from workflows.bootstrap import Node
from workflows.errors import ReviewRefused
from workflows.state.keeping import KeepingRules
from workflows.state.records import Job
from workflows.state.reviewing import FindingPlace, Missed, Proposal, ProposalState, VerdictKind
from workflows.state.reviews import Reviewer
from workflows.state.views import Selection
from workflows.steps.corrections import correction_mask
from workflows.steps.proposals import look_at_segmentations
from workflows.steps.receive import index_entries

READER = Reviewer("reader", "Reader^Alpha")
Edit = Callable[[Dataset], None]


@pytest.fixture(scope="module")
def read_node(tmp_path_factory: pytest.TempPathFactory) -> Node:
    """Two studies that were read, made once; every test works on other segments or another study's copy."""
    folder = tmp_path_factory.mktemp("proposals")
    node = scene_node(folder / "data")
    make_scene(node, folder / "images", studies=2)
    return node


@pytest.fixture
def node(read_node: Node, tmp_path: Path) -> Iterator[Node]:
    """A copy of its folder, so that no test sees another's."""
    shutil.copytree(read_node.folder.root, tmp_path / "data")
    node = scene_node(tmp_path / "data")
    yield node
    node.repository.close()


def studies(node: Node) -> list[str]:
    return sorted(view.study.study_uid for view in node.repository.study_views())


def jobs(node: Node, study_uid: str) -> list[Job]:
    (view,) = node.repository.study_views(Selection(study_uid=study_uid))
    return [one.job for one in view.jobs]


def volume_job(node: Node, study_uid: str, number: int = 0) -> Job:
    volumes = [job for job in jobs(node, study_uid) if job.parts[0].slices > 1]
    return sorted(volumes, key=lambda job: job.series_uid)[number]


def own_seg(node: Node, job: Job) -> Dataset:
    path = next(one.path for one in node.repository.objects(job.job_key) if one.path.name == "seg.dcm")
    return dcmread(node.folder.absolute(path))


def masks_of(node: Node, job: Job) -> tuple[NDArray[np.bool_], ...]:
    path = next(one.path for one in node.repository.objects(job.job_key) if one.path.name == "seg.dcm")
    return read_masks(node.folder.absolute(path).parent / "masks.npz")


def by_a_person(seg: Dataset) -> Dataset:
    """As a viewer saves a SEG that a person has edited: it keeps segments and references, not UIDs and equipment."""
    seg.SOPInstanceUID = seg.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    seg.SeriesInstanceUID = generate_uid()
    seg.Manufacturer = seg.ManufacturerModelName = "A viewer"
    seg.pop("ContributingEquipmentSequence", None)
    seg.ContentCreatorName = "Reader^Beta"
    return seg


def without_some_pixels(seg: Dataset, number: int = 1) -> Dataset:
    """The segment loses the upper left quarter of what it marks on each frame."""
    frames = seg.pixel_array.copy()
    for index, group in enumerate(seg.PerFrameFunctionalGroupsSequence):
        if group.SegmentIdentificationSequence[0].ReferencedSegmentNumber == number:
            rows, columns = np.nonzero(frames[index])
            if not len(rows):
                continue
            frames[index, : (rows.min() + rows.max()) // 2, : (columns.min() + columns.max()) // 2] = 0
    seg.PixelData = pack_bits(frames.reshape(-1), pad=True)
    return seg


def send(node: Node, seg: Dataset) -> str:
    buffer = BytesIO()
    seg.save_as(buffer, enforce_file_format=True)
    path = node.folder.root / f"{seg.SOPInstanceUID}.sent"
    path.write_bytes(buffer.getvalue())
    with path.open("rb") as file:
        file.seek(data_set_offset(file))
        data_set = file.read()
    path.unlink()
    syntax = seg.file_meta.TransferSyntaxUID
    received = ReceivedInstance(data_set, seg.SOPClassUID, seg.SOPInstanceUID, syntax, "VIEWER")
    index_entries([InspectedSource(node.store.inspect(received))], node.receiver)
    look_at_segmentations(node.segmentations)
    return str(seg.SOPInstanceUID)


def proposals(node: Node, study_uid: str) -> list[Proposal]:
    return node.repository.proposals(study_uid)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_what_a_person_changed_is_proposed_voxel_for_voxel(node: Node, number: int) -> None:
    study_uid = studies(node)[0]
    job = volume_job(node, study_uid, number)
    before = node.repository.study(study_uid)
    seg = without_some_pixels(by_a_person(own_seg(node, job)))
    uid = send(node, seg)
    (proposal,) = proposals(node, study_uid)  # the other segment is as we have it
    assert (proposal.sop_instance_uid, proposal.segment, proposal.state) == (uid, 1, ProposalState.PROPOSED)
    assert (proposal.place, proposal.label) == (FindingPlace(job.job_key, 0, 0), "liver")
    assert (proposal.author, proposal.matched_by) == ("Reader^Beta", "its tracking UID")
    (correction,) = node.repository.corrections(study_uid)
    mask, ours = correction_mask(correction, node.folder), masks_of(node, job)[0]
    assert mask.shape == ours.shape
    assert mask[ours].sum() == mask.sum() == correction.voxels < ours.sum()
    expected = np.flatnonzero(ours.any(axis=(1, 2)))
    assert np.array_equal(np.flatnonzero(mask.any(axis=(1, 2))), expected)
    after = node.repository.study(study_uid)
    assert before is not None
    assert after is not None
    assert (after.state, after.generation, after.attention) == (before.state, before.generation, "")


def test_the_same_again_changes_nothing(node: Node) -> None:
    study_uid = studies(node)[0]
    seg = without_some_pixels(by_a_person(own_seg(node, volume_job(node, study_uid))))
    send(node, seg)
    first = proposals(node, study_uid)
    send(node, seg)
    assert proposals(node, study_uid) == first


def without_tracking(seg: Dataset) -> None:
    for segment in seg.SegmentSequence:
        del segment.TrackingUID, segment.TrackingID


def renamed(seg: Dataset) -> None:
    without_tracking(seg)
    seg.SegmentSequence[0].SegmentLabel = "Segment_1"


@pytest.mark.parametrize("edit", [without_tracking, renamed])
def test_without_a_tracking_uid_it_is_matched_by_name_or_code_and_overlap(node: Node, edit: Edit) -> None:
    study_uid = studies(node)[0]
    seg = without_some_pixels(by_a_person(own_seg(node, volume_job(node, study_uid))))
    edit(seg)
    send(node, seg)
    (proposal,) = proposals(node, study_uid)
    assert proposal.place is not None
    assert proposal.matched_by.startswith("its name and an overlap (Dice) of 0.")


def test_what_we_do_not_have_is_proposed_as_missed(node: Node) -> None:
    study_uid = studies(node)[0]
    seg = by_a_person(own_seg(node, volume_job(node, study_uid)))
    segment = seg.SegmentSequence[0]
    segment.SegmentLabel, segment.TrackingUID = "pancreas", generate_uid()
    kind = segment.SegmentedPropertyTypeCodeSequence[0]
    kind.CodeValue, kind.CodeMeaning = "15776009", "Pancreas"
    send(node, seg)
    (proposal,) = proposals(node, study_uid)
    assert (proposal.place, proposal.label) == (None, "pancreas")


def test_it_counts_only_once_a_reviewer_confirms_it(node: Node) -> None:
    study_uid = studies(node)[0]
    job = volume_job(node, study_uid)
    uid = send(node, without_some_pixels(by_a_person(own_seg(node, job))))
    (proposal,) = proposals(node, study_uid)
    place = FindingPlace(job.job_key, 0, 0)
    assert node.repository.review(study_uid) is None
    draft = node.repository.confirm_proposal(study_uid, (uid, 1), READER, None, None)
    verdict = draft.verdict_on(place)
    assert verdict is not None
    assert (verdict.kind, verdict.correction) == (VerdictKind.OUTLINE, proposal.correction)
    assert proposals(node, study_uid)[0].state is ProposalState.CONFIRMED
    dismissed = node.repository.dismiss_proposal(study_uid, (uid, 1), READER)
    assert dismissed is not None
    assert dismissed.verdicts == ()
    with pytest.raises(ReviewRefused, match="not confirmed"):
        base = dismissed.number, dismissed.version
        node.repository.save_review(study_uid, READER, base, [verdict], [])


def test_a_missed_finding_is_confirmed_with_its_place(node: Node) -> None:
    study_uid = studies(node)[0]
    job = volume_job(node, study_uid)
    seg = by_a_person(own_seg(node, job))
    without_tracking(seg)
    segment = seg.SegmentSequence[0]
    segment.SegmentLabel = "pancreas"
    uid = send(node, seg)
    (proposal,) = proposals(node, study_uid)
    miss = Missed(job.job_key, 0, proposal.label, 1, 2.0, 3.0, correction=proposal.correction)
    assert node.repository.confirm_proposal(study_uid, (uid, 1), READER, None, miss).missed == (miss,)


def told(node: Node, study_uid: str, uid: str) -> str:
    return node.repository.segmentations_told(study_uid)[uid]


def attention(node: Node, study_uid: str) -> str:
    study = node.repository.study(study_uid)
    assert study is not None
    return study.attention


def by_an_algorithm(seg: Dataset) -> None:
    del seg.ContentCreatorName
    for segment in seg.SegmentSequence:
        segment.SegmentAlgorithmType, segment.SegmentAlgorithmName = "AUTOMATIC", "Another model"


def by_hand(seg: Dataset) -> None:
    by_an_algorithm(seg)
    seg.SegmentSequence[0].SegmentAlgorithmType = "SEMIAUTOMATIC"


def by_nobody_known(seg: Dataset) -> None:
    by_an_algorithm(seg)
    for segment in seg.SegmentSequence:
        del segment.SegmentAlgorithmName


@pytest.mark.parametrize(("edit", "count"), [(by_an_algorithm, 0), (by_hand, 1), (by_nobody_known, 1)])
def test_only_what_a_person_made_is_proposed(node: Node, edit: Edit, count: int) -> None:
    study_uid = studies(node)[0]
    seg = without_some_pixels(by_a_person(own_seg(node, volume_job(node, study_uid))))
    edit(seg)
    uid = send(node, seg)
    assert len(proposals(node, study_uid)) == count
    if not count:
        assert "by no person" in told(node, study_uid, uid)
        assert attention(node, study_uid) == ""


def test_our_own_results_that_come_back_are_none(node: Node) -> None:
    study_uid = studies(node)[0]
    send(node, own_seg(node, volume_job(node, study_uid)))
    assert node.repository.segmentations_told(study_uid) == {}


def shifted(seg: Dataset) -> None:
    for group in seg.PerFrameFunctionalGroupsSequence:
        position = group.PlanePositionSequence[0].ImagePositionPatient
        group.PlanePositionSequence[0].ImagePositionPatient = [float(one) + 0.4 for one in position]


def far_away(seg: Dataset) -> None:
    for group in seg.PerFrameFunctionalGroupsSequence:
        position = group.PlanePositionSequence[0].ImagePositionPatient
        group.PlanePositionSequence[0].ImagePositionPatient = [float(one) + 5000 for one in position]


def measures(seg: Dataset) -> Dataset:
    shared = seg.SharedFunctionalGroupsSequence[0]
    groups = [shared, *seg.PerFrameFunctionalGroupsSequence]
    found: Dataset = next(one.PixelMeasuresSequence[0] for one in groups if "PixelMeasuresSequence" in one)
    return found


def coarse(seg: Dataset) -> None:
    spacing = measures(seg).PixelSpacing
    measures(seg).PixelSpacing = [2 * float(one) for one in spacing]


def elsewhere(seg: Dataset) -> None:
    seg.FrameOfReferenceUID = generate_uid()


@pytest.mark.parametrize("edit", [shifted, far_away, coarse, elsewhere])
def test_another_grid_is_no_proposal_and_a_person_is_told_what_to_do(node: Node, edit: Edit) -> None:
    study_uid = studies(node)[0]
    seg = without_some_pixels(by_a_person(own_seg(node, volume_job(node, study_uid))))
    edit(seg)
    send(node, seg)
    assert proposals(node, study_uid) == []
    assert "it was not taken. Save it on the images of series" in attention(node, study_uid)


def test_a_claim_on_a_finding_of_another_study_is_refused_told_and_audited(node: Node) -> None:
    claimed, claiming = studies(node)
    seg = without_some_pixels(by_a_person(own_seg(node, volume_job(node, claiming))))
    theirs = own_seg(node, volume_job(node, claimed)).SegmentSequence[0].TrackingUID
    seg.SegmentSequence[0].TrackingUID = theirs
    send(node, seg)
    assert proposals(node, claimed) == proposals(node, claiming) == []
    assert node.repository.corrections(claiming) == []
    assert "another study" in attention(node, claiming)
    assert "another study" in attention(node, claimed)
    assert [one.subject for one in node.repository.audit_entries("correction-refused")] == [claimed]


def test_a_claim_for_another_patient_is_refused_told_and_audited(node: Node) -> None:
    study_uid = studies(node)[0]
    seg = without_some_pixels(by_a_person(own_seg(node, volume_job(node, study_uid))))
    seg.PatientID, seg.PatientName = "OTHER", "PHANTOM^OTHER"
    send(node, seg)
    assert proposals(node, study_uid) == []
    assert "another patient" in attention(node, study_uid)
    assert [one.subject for one in node.repository.audit_entries("correction-refused")] == [study_uid]


def test_a_seg_of_a_study_that_is_not_known_claims_nothing(node: Node) -> None:
    study_uid = studies(node)[0]
    seg = without_some_pixels(by_a_person(own_seg(node, volume_job(node, study_uid))))
    seg.StudyInstanceUID = generate_uid()
    uid = send(node, seg)
    assert proposals(node, study_uid) == proposals(node, seg.StudyInstanceUID) == []
    assert "another study" in told(node, seg.StudyInstanceUID, uid)
    assert "another study" in attention(node, study_uid)


def no_segments(seg: Dataset) -> None:
    del seg.SegmentSequence


def no_pixels(seg: Dataset) -> None:
    seg.PixelData = b"\0\0"


def no_frames(seg: Dataset) -> None:
    seg.PerFrameFunctionalGroupsSequence = []


def very_large(seg: Dataset) -> None:
    seg.NumberOfFrames, seg.Rows, seg.Columns = 2_000_000, 65535, 65535


def long_texts(seg: Dataset) -> None:
    seg.ContentCreatorName = "‮" * 2000
    seg.SegmentSequence[0].SegmentLabel = "<b>" * 20
    seg.SegmentSequence[0].SegmentedPropertyTypeCodeSequence[0].CodeValue = "none"
    without_tracking(seg)


@pytest.mark.parametrize("edit", [no_segments, no_pixels, no_frames, very_large, long_texts])
def test_a_broken_one_is_received_and_proposes_nothing(node: Node, edit: Edit) -> None:
    study_uid = studies(node)[0]
    seg = without_some_pixels(by_a_person(own_seg(node, volume_job(node, study_uid))))
    edit(seg)
    uid = send(node, seg)
    assert proposals(node, study_uid) == []
    assert told(node, study_uid, uid)
    assert uid in [one.sop_instance_uid for one in node.repository.instances(study_uid)]


def test_an_open_proposal_keeps_the_images(node: Node) -> None:
    study_uid = studies(node)[0]
    rules = KeepingRules(after_commitment=timedelta(0), uncommitted=timedelta(0))
    uid = send(node, without_some_pixels(by_a_person(own_seg(node, volume_job(node, study_uid)))))
    assert node.repository.inputs_to_remove(study_uid, rules) == []
    node.repository.dismiss_proposal(study_uid, (uid, 1), READER)


def drawn_elsewhere(node: Node, job: Job, mask: NDArray[np.bool_], folder: Path) -> Dataset:
    """A SEG that dcmqi makes of a mask, as 3D Slicer does."""
    program = shutil.which("itkimage2segimage", path=Path(sys.executable).parent)
    assert program is not None
    images = folder / "images"
    images.mkdir(parents=True)
    for instance in node.repository.instances(job.study_uid):
        if instance.series_uid == job.series_uid:
            shutil.copy(node.folder.absolute(instance.path), images)
    volume = load_series(sorted(images.iterdir())).parts[0]
    drawing, about, made = folder / "drawing.nii.gz", folder / "about.json", folder / "made.dcm"
    drawing.write_bytes(b"".join(mask_stream(mask, grid(volume))))
    code = {"CodeValue": "10200004", "CodingSchemeDesignator": "SCT", "CodeMeaning": "Liver"}
    category = {"CodeValue": "123037004", "CodingSchemeDesignator": "SCT", "CodeMeaning": "Anatomical Structure"}
    segment = {
        "labelID": 1,
        "SegmentLabel": "Segment_1",
        "SegmentAlgorithmType": "MANUAL",
        "SegmentedPropertyCategoryCodeSequence": category,
        "SegmentedPropertyTypeCodeSequence": code,
    }
    told = {"ContentCreatorName": "Reader^Gamma", "SeriesNumber": "300", "segmentAttributes": [[segment]]}
    about.write_text(json.dumps(told), encoding="utf-8")
    named = ["--inputImageList", drawing, "--inputDICOMDirectory", images, "--inputMetadata", about]
    subprocess.run([program, *map(str, named), "--outputDICOM", str(made)], check=True, capture_output=True)
    return dcmread(made)


@pytest.mark.service("dcmqi")
@pytest.mark.parametrize("number", [0, 1])
def test_a_seg_of_another_program_is_proposed_voxel_for_voxel(node: Node, tmp_path: Path, number: int) -> None:
    study_uid = studies(node)[0]
    with_planes = [job for job in map(partial(volume_job, node, study_uid), range(3)) if has_planes(node, job)]
    job = with_planes[number]
    ours = masks_of(node, job)[0]
    mask = np.roll(ours, 3, axis=2) & ours
    mask[np.flatnonzero(ours.any(axis=(1, 2)))[0]] = False
    send(node, drawn_elsewhere(node, job, mask, tmp_path / "elsewhere"))
    (proposal,) = proposals(node, study_uid)
    assert (proposal.place, proposal.author) == (FindingPlace(job.job_key, 0, 0), "Reader^Gamma")
    (correction,) = node.repository.corrections(study_uid)
    assert np.array_equal(correction_mask(correction, node.folder), mask)


def has_planes(node: Node, job: Job) -> bool:
    """Whether its slices are a grid of boxes, as a file of NIfTI needs it: a tilted gantry's are not."""
    paths = [
        node.folder.absolute(one.path)
        for one in node.repository.instances(job.study_uid)
        if one.series_uid == job.series_uid
    ]
    return not grid(load_series(paths).parts[0]).why_none


def grid(part: SeriesVolume) -> VoxelGrid:
    slices, rows, columns = part.values.shape[:3]
    return grid_of(part.geometry, (slices, rows, columns), color=False)
