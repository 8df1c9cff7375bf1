"""The local server: the page's files, and its questions as JSON. The standard library's, and nothing but local."""

import contextlib
import importlib.resources
import ipaddress
import json
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from ._read import MAX_BODY, Refused, read_document

PAGE = importlib.resources.files("lrjax.explorer") / "page"

SCRIPTS = ("app", "ask", "chart", "controls", "finder", "surface")
FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/style.css": ("style.css", "text/css; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
    **{f"/{name}.js": (f"{name}.js", "text/javascript; charset=utf-8") for name in SCRIPTS},
}
"""Path -> file in the folder `page`, and its type. Nothing else is served."""

Routes = Mapping[str, Callable[[dict[str, Any]], dict[str, Any]]]
"""Path -> the function of a question's JSON object that answers it."""

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class Server(ThreadingHTTPServer):
    """Serves the page until `shutdown`. Browsers may also reach it under other names, as through a proxy."""

    daemon_threads = True
    request_queue_size = 1024  # the standard library's 5 drops connections of a few tabs at once

    def __init__(self, host: str, port: int, routes: Routes, names: Sequence[str] = ()):
        if ":" in host:
            self.address_family = socket.AF_INET6
        self.host, self.routes = host, routes
        own = () if is_local(host) else (host, socket.gethostname())
        self._names = {"localhost", *(name.lower() for name in (*own, *names))}
        self._under_way, self._changed = 0, threading.Condition()
        super().__init__((host, port), Handler)

    @property
    def url(self) -> str:
        """Where the page is, as a browser on this machine can open it."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        shown = f"[{host}]" if ":" in host else host
        return f"http://{shown}:{self.server_address[1]}/"

    @contextlib.contextmanager
    def answering(self) -> Iterator[None]:
        """Around the answer to a question."""
        with self._changed:
            self._under_way += 1
        try:
            yield
        finally:
            with self._changed:
                self._under_way -= 1
                self._changed.notify_all()

    def wait(self) -> None:
        """Wait for the answers under way: Python cannot end cleanly while another thread compiles."""
        with self._changed:
            self._changed.wait_for(lambda: not self._under_way)

    def knows(self, host: str | None) -> bool:
        """Whether a request means this server by its Host header: a name of its own, or an address.

        A page of another site whose name was made to lead here (DNS rebinding) has that name in it, never an address.
        """
        name = name_in(host or "")
        return name in self._names or is_local(name) or (address_of(name) is not None and not is_local(self.host))

    @property
    def known(self) -> str:
        """The names that it answers to, for messages."""
        return ", ".join(sorted(self._names)) + ("" if is_local(self.host) else " and addresses")

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Quiet where the browser went away."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


def is_local(host: str) -> bool:
    """Whether an address can only be reached from this machine."""
    address = address_of(host)
    return host == "localhost" if address is None else address.is_loopback


def address_of(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The IP address; None if it is a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def name_in(host: str) -> str:
    """The name or address in a Host header, without its port; empty if there is none."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


_NOTHING = {"error": "There is nothing here."}


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else every answer waits 40 ms for the acknowledgement of its headers
    timeout = 60
    server: Server

    def do_GET(self) -> None:
        """A file of the page."""
        path = urlsplit(self.path).path
        if not self.server.knows(self.headers.get("Host")):
            self._json(HTTPStatus.FORBIDDEN, {"error": self._unknown()})
        elif path not in FILES:
            self._json(HTTPStatus.NOT_FOUND, _NOTHING)
        else:
            name, kind = FILES[path]
            self._send(HTTPStatus.OK, (PAGE / name).read_bytes(), kind)

    def do_POST(self) -> None:
        """A question.

        Wrong ones get status 400 and a message. The page asks with `Prefer: handling=lenient` and gets the message with
        status 200, because browsers report every other status as an error of the page.
        """
        refusal = self._refusal()
        if refusal is not None:
            self.close_connection = True  # what was not read is not the next request
            return self._json(refusal[0], {"error": refusal[1]})
        body = self.rfile.read(int(self.headers["Content-Length"]))
        answer = self.server.routes.get(urlsplit(self.path).path)
        if answer is None:
            return self._json(HTTPStatus.NOT_FOUND, _NOTHING)
        try:
            with self.server.answering():
                found = answer(read_document(body))
            self._json(HTTPStatus.OK, found)
        except Refused as error:
            lenient = "handling=lenient" in self.headers.get("Prefer", "")
            self._json(HTTPStatus.OK if lenient else HTTPStatus.BAD_REQUEST, {"error": str(error)})
        except ConnectionError:  # the page was closed
            pass
        except Exception as error:
            traceback.print_exc()
            self._json(HTTPStatus.INTERNAL_SERVER_ERROR, {"error": f"{type(error).__name__}: {error}"})

    def _refusal(self) -> tuple[HTTPStatus, str] | None:
        """Why a question is not read, if so.

        Only this page can send this type here: for another site's page a browser would ask first, and get no leave.
        """
        length = self.headers.get("Content-Length", "")
        if not self.server.knows(self.headers.get("Host")):
            return HTTPStatus.FORBIDDEN, self._unknown()
        if self.headers.get_content_type() != "application/json":
            return HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Send application/json."
        if not (length.isascii() and length.isdecimal()):
            return HTTPStatus.LENGTH_REQUIRED, "Say how long it is, in Content-Length."
        if len(length) > 12 or int(length) > MAX_BODY:
            return HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"This is too large: at most {MAX_BODY:,} bytes are read."
        return None

    def _unknown(self) -> str:
        return f"This server answers to {self.server.known} only. Another name of it is given by --name."

    def _json(self, status: HTTPStatus, value: dict[str, Any]) -> None:
        self._send(status, json.dumps(value, allow_nan=False).encode(), "application/json")

    def _send(self, status: HTTPStatus, content: bytes, kind: str) -> None:
        self.send_response(status)
        for name, value in {**HEADERS, "Content-Type": kind, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet: a slider asks dozens of times a second."""
