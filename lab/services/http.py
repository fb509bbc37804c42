"""HTTP servers on sockets that were opened in another network namespace."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def serve_on(sock: socket.socket, handler: type[BaseHTTPRequestHandler]) -> Callable[[], None]:
    """Serve a bound TCP socket, which the server owns from now on; the returned function ends it."""
    server = ThreadingHTTPServer(sock.getsockname(), handler, bind_and_activate=False)
    server.socket.close()
    server.socket = sock
    server.server_name, server.server_port = sock.getsockname()
    server.daemon_threads = True
    sock.listen(128)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 1}, daemon=True).start()

    def close() -> None:
        server.shutdown()
        server.server_close()

    return lambda: threading.Thread(target=close, daemon=True).start()
