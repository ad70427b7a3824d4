"""The command medseg-qa, with the DICOM source and the front door that inference cannot have."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line of MedSeg-QA; exit 2 where the extra `qa` is not installed."""
    try:
        from inference.medseg_qa.commands import make_app
        from workflows.datasets.dicom_source import open_dicom
        from workflows.datasets.front_door import behind_front_door
        from workflows.datasets.reviewed_source import open_reviewed
    except ModuleNotFoundError as error:
        print(
            f"medseg-qa needs {error.name}: install the extra with pip install -c constraints.txt -e '.[qa]'",
            file=sys.stderr,
        )
        raise SystemExit(2) from error
    make_app((open_dicom, open_reviewed), behind_front_door)()
