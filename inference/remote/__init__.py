"""A model on another machine, or in an environment of its own.

access    how it is reached: address, token, certificates, limits
client    what asks it, and takes only what was asked for
"""

from inference.remote.access import TOKEN_VARIABLE, RemoteAccess, is_address, read_token
from inference.remote.client import RemoteModel, RemotePredictor, open_remote

__all__ = [
    "TOKEN_VARIABLE", "RemoteAccess", "RemoteModel", "RemotePredictor", "is_address", "open_remote", "read_token",
]  # fmt: skip
