"""Runs the rows, each within a time, and makes the table."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

from inference.conformance.rows import ROWS, Checked, Outcome, Verdict
from inference.errors import InferenceError

__all__ = ["check_conformance", "table"]


def check_conformance(
    checked: Checked, within_s: float, tell: Callable[[str], None] = lambda _row: None
) -> dict[str, Verdict]:
    """Return the verdict of each row; `within_s`: how long a row may take. After one that does not end none is run."""
    verdicts: dict[str, Verdict] = {}
    for name, row in ROWS.items():
        tell(name)
        verdict = _within(row, checked, within_s)
        verdicts[name] = verdict or Verdict(
            Outcome.FAIL, f"no answer within {within_s:g} s; the rows below were not run"
        )
        if verdict is None:
            break
    undone = {name: Verdict(Outcome.UNDECIDED, "not run") for name in ROWS if name not in verdicts}
    in_time = Outcome.FAIL if undone else Outcome.PASS
    return verdicts | undone | {"time-out": Verdict(in_time, f"each row within {within_s:g} s")}


def table(verdicts: Mapping[str, Verdict]) -> str:
    """The verdicts for people."""
    width = max(map(len, verdicts))
    return "\n".join(f"{name:{width}}  {verdict.outcome.value:9}  {verdict.why}" for name, verdict in verdicts.items())


def _within(row: Callable[[Checked], Verdict], checked: Checked, within_s: float) -> Verdict | None:
    """The verdict of a row, or None where it does not come in time; its thread is left to itself then."""
    verdicts: list[Verdict] = []

    def run() -> None:
        try:
            verdicts.append(row(checked))
        except InferenceError as error:
            verdicts.append(Verdict(Outcome.FAIL, f"{type(error).__name__}: {error}"))
        except Exception as error:  # the edge to a program that we do not know
            verdicts.append(Verdict(Outcome.FAIL, f"it failed with {type(error).__name__}: {error}"))

    thread = threading.Thread(target=run, name="conformance", daemon=True)
    thread.start()
    thread.join(within_s)
    return verdicts[0] if verdicts else None
