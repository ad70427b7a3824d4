"""Each case of ../shared/cases that is about files comes to what its README expects."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dicom_node.results.profiles import Profile
from inference.commissioning import CommissioningPredictor
from inference.interface import Question, SliceStack
from tests.corpus.inputs import Input, case_inputs
from tests.corpus.outcomes import OutcomeKind, ask_once
from tests.corpus.predictors import bright

pytestmark = pytest.mark.slow

VOXELS = {
    "element-with-unknown-vr/dcm/fd-of-six-bytes": 132,
    "element-with-unknown-vr/dcm/unknown-vr": 132,
    "element-with-unknown-vr/dcm/patient-id-vr-question-marks": 132,
    "every-file-twice/dcm/all": 132,
    "every-file-twice/dcm/one": 132,
    "non-image-in-the-series/dcm": 132,
    "pixels-left-aligned/dcm": 132,
    "positions-rounded-to-a-tenth/dcm": 132,
    "radiograph-with-pixel-spacing-only/dcm/no-spacing/000.dcm": 66,
    "radiograph-with-pixel-spacing-only/dcm/pixel-spacing-only/000.dcm": 66,
    "radiograph-without-patient-orientation/dcm/empty/000.dcm": 66,
    "radiograph-without-patient-orientation/dcm/missing/000.dcm": 66,
    "secondary-capture-with-modality-ct/dcm/000.dcm": 66,
    "slice-thickness-empty/dcm/empty": 132,
    "slice-thickness-empty/dcm/missing": 132,
    "slice-thickness-empty/dcm/mr-spacing-between-slices-empty": 132,
    "undeclared-utf8-and-a-question-beyond-ascii/dcm": 132,
    "utf8-declared-latin1-written/dcm": 132,
}
REFUSED = {
    "many-frames-in-ct-image-storage/dcm/one-instance/000.dcm": ("frames-in-single-frame-class", "send it as"),
    "many-frames-in-ct-image-storage/dcm/two-instances": ("frames-in-single-frame-class", "send it as"),
    "two-patients-in-one-series/dcm": ("contradicting-patients", "send it corrected"),
    "uid-of-70-characters/dcm": ("CallError", "Series Instance UID has 70 characters"),
}


@pytest.fixture(scope="module")
def cases(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Input]:
    inputs = case_inputs(shared_data.parent, tmp_path_factory.mktemp("cases"))
    return {one.name.removeprefix("cases/"): one for one in inputs}


@pytest.mark.parametrize("profile", [Profile.OHIF, Profile.AIR, Profile.SLICER], ids=lambda profile: profile.value)
@pytest.mark.parametrize("name", VOXELS)
def test_a_case_is_answered_with_the_voxels_of_its_box(cases: dict[str, Input], name: str, profile: Profile) -> None:
    outcome = ask_once(cases[name].files, bright, profile, overlay=False)
    held = outcome.stored or (outcome.outlined,)  # of a projection image some profiles have contours alone
    assert (outcome.kind, held) == (OutcomeKind.ANSWERED, (VOXELS[name],)), outcome.detail


@pytest.mark.parametrize("name", REFUSED)
def test_a_case_is_refused_by_name_with_the_remedy(cases: dict[str, Input], name: str) -> None:
    reason, says = REFUSED[name]
    outcome = ask_once(cases[name].files, bright, Profile.AIR)
    assert (outcome.kind, outcome.reason) == (OutcomeKind.REFUSED, reason)
    assert says in outcome.detail


@pytest.mark.parametrize("name", ["jpeg-extended-12bit/MR1_JPLY", "jpeg-lossless/CT1_JPLL", "jpeg-lossless/GH610.dcm"])
def test_a_compressed_case_is_read(cases: dict[str, Input], name: str) -> None:
    outcome = ask_once(cases[name].files, bright, Profile.AIR, overlay=False)
    assert outcome.kind is OutcomeKind.ANSWERED, outcome.detail


@pytest.mark.parametrize(
    ("name", "voxels"), [("pet-slope-per-slice/marked", 72), ("enhanced-mr-per-frame-measures/00000.dcm", 3072)]
)
def test_commissioning_finds_the_burnt_in_box_alone(cases: dict[str, Input], name: str, voxels: int) -> None:
    def marked(stack: SliceStack) -> np.ndarray:
        (answer,) = CommissioningPredictor().answer(stack, [Question("Where are the bright voxels?")])
        return answer.targets[0].mask

    outcome = ask_once(cases[name].files, marked, Profile.AIR, overlay=False)
    assert outcome.stored == (voxels,)
