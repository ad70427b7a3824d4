"""Who runs a command: what logs and the audit name."""

from __future__ import annotations

import os
import pwd

from workflows.steps.reread import Candidate, candidates, candidates_as_is, reopen, reopen_as_is

__all__ = ["Candidate", "candidates", "candidates_as_is", "operator", "reopen", "reopen_as_is"]


def operator() -> str:
    """The user of the operating system who runs this command, and who became that user by sudo."""
    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's user may have no entry
        user = f"uid {os.getuid()}"
    through = os.environ.get("SUDO_USER", "")
    return f"{through} as {user}" if through and through != user else user
