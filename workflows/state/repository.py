"""Every change of state, each in one transaction. The database is the truth; the queue only wakes.

Claims are compare-and-set updates: whoever changes the row first owns the work, everyone else gets nothing.
"""

from __future__ import annotations

from workflows.state.deliveries import Deliveries
from workflows.state.intake import Intake
from workflows.state.jobs import Jobs

__all__ = ["Repository"]


class Repository(Intake, Jobs, Deliveries):
    """Studies, instances, jobs and deliveries."""
