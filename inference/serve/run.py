"""A served model under uvicorn, over TLS where a certificate is named, until it is told to stop."""

from __future__ import annotations

import ipaddress
import socket
from pathlib import Path

import structlog
import uvicorn

from inference.errors import CheckpointError
from inference.serve.app import Served, create_app

__all__ = ["serve"]

log = structlog.get_logger()


def serve(served: Served, host: str, port: int, certificate: Path | None, key: Path | None) -> None:
    """Serve until SIGINT or SIGTERM. Beyond this machine only with a token, over TLS.

    Raises `CheckpointError` for an address that cannot be listened on, or that would be open to everybody.
    """
    if not _is_loopback(host) and not (served.token and certificate):
        raise CheckpointError(
            f"{host} can be reached from elsewhere: give --token-file, --certificate and --key, or --host 127.0.0.1"
        )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        raise CheckpointError(f"{host}:{port} cannot be listened on ({error.strerror}); give another --port") from error
    config = uvicorn.Config(
        create_app(served),
        access_log=False,
        log_config=None,
        server_header=False,
        lifespan="off",
        ws="none",
        timeout_keep_alive=30,
        h11_max_incomplete_event_size=64 * 1024,
        ssl_certfile=None if certificate is None else str(certificate),
        ssl_keyfile=None if key is None else str(key),
    )
    try:
        config.load()
    except OSError as error:  # ssl.SSLError is one
        raise CheckpointError(f"--certificate or --key cannot be used ({error.strerror or error})") from error
    named = served.model.description
    port = listening.getsockname()[1]
    log.info("model_served", host=host, port=port, tls=certificate is not None, name=named.name, version=named.version)
    uvicorn.Server(config).run(sockets=[listening])


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
