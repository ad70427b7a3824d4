"""Every change of state, each in one transaction. The database is the truth; the queue only wakes.

Claims are compare-and-set updates: whoever changes the row first owns the work, everyone else gets nothing. What comes
out are frozen records (`records.py`) and read models (`views.py`), never rows.
"""

from __future__ import annotations

from workflows.state.accounts import Accounts
from workflows.state.agreement import Agreement
from workflows.state.archive_names import ArchiveNames
from workflows.state.asked import Asked
from workflows.state.audit import Audit
from workflows.state.clock import Clocks
from workflows.state.completion import Completion
from workflows.state.confirmations import Confirmations
from workflows.state.corrections import Corrections
from workflows.state.deliveries import Deliveries
from workflows.state.due_work import DueWork
from workflows.state.identity import Identity
from workflows.state.intake import Intake
from workflows.state.integrity import Integrity
from workflows.state.jobs import Jobs
from workflows.state.kept_headers import KeptHeaders
from workflows.state.measured import Measured
from workflows.state.openings import Openings
from workflows.state.patients import Patients
from workflows.state.priors import Priors
from workflows.state.proposals import Proposals
from workflows.state.purging import Purging
from workflows.state.rejections import Rejections
from workflows.state.retention import Retention
from workflows.state.review_writing import ReviewWriting
from workflows.state.reviews import Reviews
from workflows.state.rules import Rules
from workflows.state.sign_ins import SignIns
from workflows.state.views import Views
from workflows.state.worklist import Worklist
from workflows.state.worklist_sources import WorklistSources

__all__ = ["Repository"]


class Repository(
    Identity, Clocks, Intake, Completion, Patients, Rejections, Priors, Jobs, Deliveries, Confirmations,
    ArchiveNames, Integrity, Retention, Purging, Audit, Proposals, Reviews, Accounts, SignIns, Views, DueWork,
    Corrections, Openings, WorklistSources, Worklist, ReviewWriting, Agreement, Asked, KeptHeaders, Rules, Measured,
):  # fmt: skip
    """Every transaction of the node, from an instance that comes in to a result that an archive keeps or gives back."""
