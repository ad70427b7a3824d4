"""The real images of the demo: one that the model answers rightly, and one that it must refuse."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

from dicom_node.commissioning.blanked import with_identifiers
from workflows.errors import CallError

__all__ = ["FETCH", "DemoImages", "demo_images", "marker_images"]

_ARCHIVE = "totalsegmentator-2.18.0.tar.gz"
_DIGEST = "5d4223ef93973bc36d710869d11e7742ead2c154c72f7f9edcaaadd5b6c4bd03"
_SERIES = "tests/reference_files/example_ct_dicom/"
FETCH = "make demo fetches it; or: pip download --no-deps --no-binary totalsegmentator -r deploy/demo/images.txt -d "

_HEAD = "J2K_pixelrep_mismatch.dcm"
_ABDOMEN_MR = "examples_overlay.dcm"
_COARSE_CT = "dicomdirtests/98892001/CT5N/*"

_ABOUT_CT = """First a CT of the upper abdomen, 20 slices, that the weights never saw: the reference CT of \
TotalSegmentator (Apache-2.0), out of its package of PyPI. Compare the overlays with the answers: liver, spleen and \
aorta are where they say, and the left kidney, which lies below the last slice, is not seen."""
_ABOUT_HEAD = """Then a slice of a head CT that pydicom installs with itself. A protocol that selects too much asks \
it where the liver is: the answer must be that this cannot be assessed on such an image, and why, with nothing \
marked."""
_ABOUT_MR = """A real MR of the upper abdomen that pydicom installs with itself: the weights learned the abdomen \
from CT, so look at the overlay before you believe a number or a "not seen"."""


@dataclass(frozen=True)
class DemoImages:
    """What the model is asked about, in the order in which it is shown. `about`: for people."""

    files: tuple[Path, ...]
    about: str
    missing: str = ""


def demo_images(folder: Path) -> DemoImages:
    """The CT and the head; without the CT, which is no part of any package of ours, the MR and the head.

    `folder`: where the CT is written to. `missing` then says how the CT is had.
    """
    kept = Path(sys.prefix) / "demo" / _ARCHIVE
    if not kept.is_file():
        files = (*_of_pydicom(_ABDOMEN_MR), *_of_pydicom(_HEAD))
        missing = f"the demo's CT is not in {kept.parent}, so an MR is shown. {FETCH}{kept.parent}"
        return DemoImages(files, f"{_ABOUT_MR} {_ABOUT_HEAD}", missing)
    files = (*_unpacked(kept, folder), *_of_pydicom(_HEAD))
    return DemoImages(files, f"{_ABOUT_CT} {_ABOUT_HEAD}")


def marker_images() -> list[Path]:
    """An abdominal MR, and five coarse slices of a cardiac CT, which give the marker a depth."""
    return [*_of_pydicom(_ABDOMEN_MR), *_of_pydicom(_COARSE_CT)]


def _of_pydicom(pattern: str) -> list[Path]:
    spec = importlib.util.find_spec("pydicom")
    assert spec is not None and spec.origin is not None
    return sorted((Path(spec.origin).parent / "data" / "test_files").glob(pattern))


def _unpacked(archive: Path, folder: Path) -> list[Path]:
    """The CT's instances out of the package's source archive, if that is the one that was looked at."""
    with archive.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != _DIGEST:
            raise CallError(f"{archive} is not what it was: remove it, and make demo fetches it again")
    with tarfile.open(archive) as package:
        contents = {
            Path(member.name).name: package.extractfile(member).read()  # type: ignore[union-attr]
            for member in package
            if member.isfile() and _SERIES in member.name
        }
    return with_identifiers(contents, "DEMO-CT", folder)
