"""The role `web`: the pages under uvicorn, over TLS where a certificate is named, until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
from collections.abc import Iterator

import structlog
import uvicorn

from dicom_node.errors import ListenError
from workflows.bootstrap import Node
from workflows.errors import SettingsError
from workflows.roles.liveness import BEAT_S, Liveness
from workflows.settings import WebSettings
from workflows.web.app import create_app
from workflows.web.exposure import require_protected
from workflows.web.refreshing import Refresher
from workflows.web.sessions import SessionDoor

__all__ = ["run_web"]

log = structlog.get_logger()

_DRAIN_S = 10
_LOOK_S = 0.2


def run_web(node: Node, stop: threading.Event) -> None:
    """Serve the pages until `stop`; what is being answered then is finished. Raises SettingsError, ListenError.

    It beats from the loop that answers requests: one that stands still is replaced.
    """
    web = node.settings.web
    require_protected(web)
    listening = _listening(web)
    node.repository  # noqa: B018  another node's folder, or no database: said now and not to the first reader
    config = uvicorn.Config(
        create_app(node, SessionDoor(node)),
        access_log=False,  # it has addresses in it; the gate logs templates
        log_config=None,
        server_header=False,
        lifespan="off",
        ws="none",
        timeout_graceful_shutdown=_DRAIN_S,
        timeout_keep_alive=30,
        h11_max_incomplete_event_size=32 * 1024,
        proxy_headers=bool(web.proxies),
        forwarded_allow_ips=list(web.proxies),
        ssl_certfile=web.certificate,
        ssl_keyfile=web.key,
    )
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # the gate has logged it, without what was asked
    try:
        config.load()
    except OSError as error:  # ssl.SSLError is one
        raise SettingsError(f"[web] certificate or key cannot be used ({error.strerror or error})") from error
    alive = Liveness("web", node.settings.node.data_dir)
    log.info("pages_served", host=web.host, port=listening.getsockname()[1], tls=web.certificate is not None)
    ended = threading.Event()
    refreshing = threading.Thread(target=Refresher(node).run, args=(ended,), name="worklist", daemon=True)
    refreshing.start()
    try:
        asyncio.run(_serve(_Server(config), listening, alive, stop, ended))
    finally:
        ended.set()
        refreshing.join(_DRAIN_S)


async def _serve(
    server: _Server, listening: socket.socket, alive: Liveness, stop: threading.Event, ended: threading.Event
) -> None:
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    beat_at = 0.0
    while not (stop.is_set() or serving.done()):
        now = asyncio.get_running_loop().time()
        if now - beat_at >= BEAT_S:
            alive.beat()
            beat_at = now
        await asyncio.wait([serving], timeout=_LOOK_S)
    ended.set()  # it closes the streams of changes, which would else keep the server waiting
    server.should_exit = True
    await serving


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the command: they set `stop`."""
        yield


def _listening(web: WebSettings) -> socket.socket:
    try:
        family, *_, address = socket.getaddrinfo(web.host, web.port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=256)
    except OSError as error:
        raise ListenError(
            f"the pages cannot listen on {web.host} port {web.port} ({error.strerror or error}): stop what listens "
            "there or set another [web] port"
        ) from error
