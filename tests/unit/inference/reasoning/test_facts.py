"""Facts equal what numpy alone measures, on anisotropic and oblique grids."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from inference.card import ImageKind, LabelCode, Plane, Region
from inference.interface import ImageContext, SeenTarget, SliceStack
from inference.reasoning.facts import FindingFacts, facts_of
from inference.reasoning.references import references
from inference.reasoning.sizes import widest_mm

SHAPE = (12, 40, 50)
AXIAL = ((0.0, 0.0, 6.0, -150.0), (0.0, 6.0, 0.0, -120.0), (5.0, 0.0, 0.0, 30.0), (0.0, 0.0, 0.0, 1.0))
TRUNK = ImageContext(regions=frozenset({Region.ABDOMEN}), affine=AXIAL, calibrated=True)


def body() -> NDArray[np.float32]:
    values = np.full(SHAPE, -1000, np.float32)
    values[:, 4:36, 5:45] = 40
    return values


def stack(context: ImageContext = TRUNK, spacing: tuple[float, float, float] | None = (5.0, 6.0, 6.0)) -> SliceStack:
    return SliceStack(body(), "CT", spacing, context)


def box(slices: slice, rows: slice, columns: slice) -> NDArray[np.bool_]:
    mask = np.zeros(SHAPE, dtype=np.bool_)
    mask[slices, rows, columns] = True
    return mask


def facts(mask: NDArray[np.bool_], on: SliceStack | None = None, phrase: str = "liver") -> FindingFacts:
    [measured] = facts_of(on or stack(), [SeenTarget(phrase, 0.8, mask)])
    return measured


def blob(seed: int) -> NDArray[np.bool_]:
    """An irregular thing inside the grid."""
    random = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*(np.arange(length) for length in SHAPE), indexing="ij"), axis=-1)
    centre, radius = random.uniform((4, 14, 14), (8, 26, 36)), random.uniform((2, 4, 4), (4, 10, 10))
    return np.asarray((((grid - centre) / radius) ** 2).sum(axis=-1) < random.uniform(0.7, 1.1, SHAPE))


@pytest.mark.parametrize("seed", range(4))
def test_sizes_on_an_oblique_grid_equal_those_of_its_voxels_corners(seed: int) -> None:
    random = np.random.default_rng(seed)
    spacing = (3.0, 0.7, 0.9)
    turn, _ = np.linalg.qr(random.normal(size=(3, 3)))
    affine = np.eye(4)
    affine[:3, :3] = turn * spacing
    context = dataclasses.replace(TRUNK, affine=tuple(map(tuple, affine.tolist())))
    mask = blob(seed)

    measured = facts(mask, stack(context, spacing), "kidney left")

    voxels = np.argwhere(mask)
    corners = (voxels[:, None] + np.array(np.meshgrid(*[[-0.5, 0.5]] * 3)).reshape(3, 8).T).reshape(-1, 3)
    assert measured.voxels == len(voxels)
    assert measured.volume_ml == pytest.approx(len(voxels) * 3.0 * 0.7 * 0.9 / 1000)
    assert measured.extents_mm == pytest.approx(np.ptp(corners @ affine[:3, :3].T, axis=0))
    surface = np.unique(corners, axis=0)
    outer = [surface[np.argmax(surface @ way)] for way in random.normal(size=(400, 3))]
    longest = cdist(np.array(outer) * spacing, surface * spacing).max()
    assert measured.length_mm is not None
    if measured.parts == 1:
        assert measured.length_mm == pytest.approx(longest, rel=0.01)
    assert measured.slices == (voxels[:, 0].min(), voxels[:, 0].max())


def test_the_width_of_a_vessel_is_that_across_it() -> None:
    across = np.zeros((2, 60, 60), dtype=np.bool_)
    across[0, 10:14, 5:50] = True
    slanted = np.abs(np.subtract.outer(np.arange(60), np.arange(60))) < 8
    across[1] = slanted
    across[1, :, :5] = across[1, :, 50:] = False

    assert widest_mm(across[:1], (2.0, 0.5)) == pytest.approx(8.0)
    assert widest_mm(across, (1.0, 1.0)) == pytest.approx(16 / np.sqrt(2), abs=0.8)


def test_a_single_image_has_an_area_and_a_longest_line_where_it_is_calibrated() -> None:
    mask = np.zeros((1, 40, 50), dtype=np.bool_)
    mask[0, 10:13, 20:24] = True
    context = ImageContext(kind=ImageKind.SECTION, calibrated=True)
    image = SliceStack(np.zeros((1, 40, 50), np.float32), "US", (1.0, 0.5, 0.5), context)

    calibrated, plain = facts(mask, image), facts(mask, dataclasses.replace(image, context=ImageContext()))

    assert calibrated.area_mm2 == pytest.approx(12 * 0.25)
    assert calibrated.length_mm == pytest.approx(np.hypot(1.5, 2.0))
    assert (plain.area_mm2, plain.length_mm, plain.volume_ml, calibrated.volume_ml) == (None, None, None, None)
    assert plain.image_share == pytest.approx(12 / 2000)
    assert plain.zone == "upper middle part"


def test_letters_alone_tell_directions_and_side() -> None:
    context = ImageContext(regions=frozenset({Region.ABDOMEN}), letters=("R", "L", "A", "P"))
    measured = facts(box(slice(2, 6), slice(10, 15), slice(8, 18)), stack(context))

    assert measured.side == measured.measured_side == "right"
    assert measured.extents_mm == pytest.approx((60.0, 30.0, 20.0))
    mirrored = dataclasses.replace(context, letters=("L", "R", "A", "P"))
    assert facts(box(slice(2, 6), slice(10, 15), slice(8, 18)), stack(mirrored)).side == "left"
    unknown = facts(box(slice(2, 6), slice(10, 15), slice(8, 18)), stack(ImageContext()))
    assert (unknown.side, unknown.extents_mm, unknown.volume_ml) == ("", None, pytest.approx(200 * 0.18))


def test_the_middle_is_the_bodys_not_the_pictures() -> None:
    values = np.full(SHAPE, -1000, np.float32)
    values[:, :, 20:49] = 40  # the body lies to one side of the picture; its middle is column 34
    off_centre = dataclasses.replace(stack(), values=values)

    assert facts(box(slice(2, 6), slice(10, 15), slice(26, 32)), off_centre).side == "right"
    assert facts(box(slice(2, 6), slice(10, 15), slice(30, 40)), off_centre).measured_side == "middle"


@pytest.mark.parametrize("shown", [slice(0, 25), slice(25, 50), slice(13, 37), slice(17, 50)])
def test_a_part_of_the_body_does_not_tell_its_middle(shown: slice) -> None:
    """A field of one half, of the heart, of the spine: a lesion right of its middle may be left of the patient's."""
    places = ((*AXIAL[0][:3], AXIAL[0][3] + 6.0 * shown.start), *AXIAL[1:])
    part = dataclasses.replace(stack(dataclasses.replace(TRUNK, affine=places)), values=body()[:, :, shown])
    mask = np.zeros(part.values.shape, dtype=np.bool_)
    mask[2:6, 10:15, 6:9] = True
    assert facts(mask, part).measured_side == ""


def test_one_breast_has_no_measured_side() -> None:
    context = dataclasses.replace(TRUNK, regions=frozenset({Region.BREAST}))
    assert facts(box(slice(2, 6), slice(10, 15), slice(8, 18)), stack(context)).measured_side == ""
    narrow = dataclasses.replace(TRUNK, regions=frozenset(), affine=tuple(map(tuple, np.diag([1.0, 1, 1, 1]).tolist())))
    assert facts(box(slice(2, 6), slice(10, 15), slice(8, 18)), stack(narrow)).measured_side == ""


def test_a_name_of_one_side_on_the_other_is_doubted_and_no_side_is_claimed() -> None:
    right = box(slice(2, 6), slice(10, 15), slice(8, 18))
    doubted = facts(right, phrase="kidney left")

    assert (doubted.label_side, doubted.measured_side, doubted.side) == ("left", "right", "")
    assert doubted.side_in_doubt
    assert facts(right, phrase="right kidney").side == "right"
    assert not facts(right, phrase="left ventricle cavity").side_in_doubt
    coded = SeenTarget("k1", 0.8, right, LabelCode("1", "99X", "left thing", side="left"))
    assert facts_of(stack(), [coded])[0].side_in_doubt


def test_what_touches_an_edge_is_cut_off() -> None:
    inside = (slice(2, 6), slice(10, 15), slice(8, 18))
    assert not facts(box(*inside)).cut_off
    assert facts(box(slice(0, 6), *inside[1:])).cut_off
    assert not facts(box(slice(0, 6), *inside[1:])).cut_in_plane
    assert facts(box(inside[0], slice(35, 40), inside[2])).cut_in_plane
    over_time = stack(ImageContext(), None)
    assert not facts(box(slice(0, 12), *inside[1:]), over_time).cut_off


def test_neighbours_are_near_by_the_distance_of_their_voxels() -> None:
    first = box(slice(2, 4), slice(10, 15), slice(8, 18))
    masks = {
        "spleen": box(slice(4, 6), slice(10, 15), slice(8, 18)),  # touches, one slice higher
        "stomach": box(slice(2, 4), slice(10, 15), slice(21, 25)),  # 4 columns on
        "pancreas": box(slice(2, 4), slice(30, 35), slice(8, 18)),
    }
    spaced = dataclasses.replace(stack(), spacing_mm=(5.0, 1.2, 1.2))
    targets = [SeenTarget("liver", 0.9, first), *(SeenTarget(name, 0.9, mask) for name, mask in masks.items())]

    liver, *_ = facts_of(spaced, targets)

    scale = np.array(spaced.spacing_mm)
    apart = {name: cdist(np.argwhere(first) * scale, np.argwhere(mask) * scale).min() for name, mask in masks.items()}
    assert apart["stomach"] <= 5 < apart["pancreas"]
    assert liver.neighbours == ("spleen", "stomach")
    assert liver.places == ("below", "to the right of")


def test_a_finding_inside_an_organ_lies_inside_it() -> None:
    lung, opacity = box(slice(2, 9), slice(8, 30), slice(8, 20)), box(slice(3, 5), slice(10, 14), slice(10, 14))
    targets = [SeenTarget("consolidation", 0.9, opacity), SeenTarget("right lung", 0.9, lung)]
    assert facts_of(stack(), targets)[0].places == ("inside",)
    [opacity_facts, lung_facts] = facts_of(stack(ImageContext(), None), targets)
    assert (opacity_facts.neighbours, opacity_facts.places) == (("right lung",), ("inside",))
    assert lung_facts.neighbours == ()


def test_parts_hang_together_by_faces_and_ct_has_a_mean() -> None:
    mask = box(slice(2, 4), slice(10, 12), slice(10, 12)) | box(slice(4, 6), slice(12, 14), slice(12, 14))
    values = body() + np.random.default_rng(0).normal(0, 5, SHAPE).astype(np.float32)
    ct = dataclasses.replace(stack(), values=values)

    measured = facts(mask, ct)

    assert measured.parts == 2
    assert measured.mean_hu == pytest.approx(values[mask].mean(), rel=1e-5)
    assert facts(mask, dataclasses.replace(ct, modality="MR")).mean_hu is None
    assert facts_of(ct, [SeenTarget("liver", 0.9, np.zeros(SHAPE, dtype=np.bool_))]) == ()


def test_reference_values_are_of_labels_that_are_measured_so() -> None:
    measured = facts(blob(1), stack(), "kidney left")
    assert measured.length_mm is not None and measured.width_mm is None
    assert facts(blob(1), stack(), "aorta").width_mm is not None
    assert all(reference.source and reference.citation and reference.basis for reference in references())


def test_a_tube_has_no_extents_and_a_width_only_across_axial_slices() -> None:
    axial = stack(dataclasses.replace(TRUNK, plane=Plane.AXIAL))
    coronal = stack(dataclasses.replace(TRUNK, plane=Plane.CORONAL))
    aslant = np.zeros(SHAPE, dtype=np.bool_)
    for number in range(SHAPE[0]):
        aslant[number, 8 + number : 11 + number, 20:23] = True
    for phrase in ("aorta", "esophagus", "inferior_vena_cava"):
        measured = facts(aslant, axial, phrase)
        assert measured.extents_mm is None and measured.length_mm is None
        assert measured.width_mm == pytest.approx(18)
    assert facts(aslant, coronal, "esophagus").width_mm is None
    for phrase in ("airways", "portal vein and splenic vein", "endotracheal tube", "iliac_artery_left"):
        measured = facts(aslant, axial, phrase)
        assert measured.extents_mm is None and measured.width_mm is None and measured.volume_ml
    for phrase in ("liver", "colon cancer", "polyp"):
        assert facts(aslant, axial, phrase).extents_mm is not None


def test_what_is_too_unsure_has_no_sizes() -> None:
    [measured] = facts_of(stack(), [SeenTarget("liver", 0.49, blob(0))])
    assert (measured.volume_ml, measured.extents_mm) == (None, None) and measured.voxels and not measured.measured
