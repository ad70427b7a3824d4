"""Which node a database belongs to; its data folder carries the same identity (`workflows/data_folder.py`)."""

from __future__ import annotations

from sqlalchemy import select

from workflows.errors import RowRefused
from workflows.state.tables import InstanceRow, NodeRow
from workflows.state.transactions import Transactions

__all__ = ["Identity"]


class Identity(Transactions):
    """Transactions of the node's identity."""

    def node_uid(self) -> str | None:
        """The identity of the node that this database belongs to; None: no node has claimed it yet."""
        with self._reading() as session:
            row = session.get(NodeRow, 1)
            return None if row is None else row.node_uid

    def claim_database(self, node_uid: str) -> str:
        """Give the database an identity, and return the one that it has: another process may have been quicker."""
        try:
            with self._writing() as session:
                if session.get(NodeRow, 1) is None:
                    session.add(NodeRow(number=1, node_uid=node_uid, created_at=self._clock()))
        except RowRefused:
            pass
        found = self.node_uid()
        assert found is not None
        return found

    def holds_instances(self) -> bool:
        """Whether any instance was received whose file should be there."""
        there = (InstanceRow.lost_at.is_(None), InstanceRow.removed_at.is_(None))
        with self._reading() as session:
            return session.scalar(select(InstanceRow.path).where(*there).limit(1)) is not None
