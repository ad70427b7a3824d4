"""The command medseg-qa, with the DICOM source that inference cannot have."""

from __future__ import annotations

from inference.medseg_qa.commands import make_app
from workflows.qa_sources import open_dicom

__all__ = ["main"]


def main() -> None:
    """Run the command line of MedSeg-QA."""
    make_app((open_dicom,))()
