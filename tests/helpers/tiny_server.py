"""A web server on this machine whose files arrive well, badly or not at all."""

import itertools
import re
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server:
    """Files by path, and what was asked for.

    Attributes:
        files: path: a function of the handler that answers.
        asked: (path, the Range header or None) of every request, in order.
        url: where it is.
    """

    def __init__(self):
        self.files, self.asked = {}, []
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                owner.asked.append((self.path, self.headers.get("Range")))
                self.close_connection = True
                owner.files.get(self.path.partition("?")[0], status(404))(self)

            def log_message(self, *args):
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}"

    def add(self, path, answer):
        """Serve, and say where."""
        self.files[path] = answer
        return self.url + path


@contextmanager
def serving():
    server = Server()
    thread = threading.Thread(target=server._http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server._http.shutdown()
        server._http.server_close()
        thread.join()


def _start(handler, content, ranges=True, claimed=None, kind="application/octet-stream"):
    """Send the headers; return from where on the content is wanted, or None where nothing is left."""
    asked = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range") or "")
    start = int(asked[1]) if asked and ranges else 0
    if start and start >= len(content):
        handler.send_response(416)
        handler.send_header("Content-Range", f"bytes */{len(content)}")
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return None
    handler.send_response(206 if start else 200)
    if start:
        handler.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
    handler.send_header("Content-Type", kind)
    handler.send_header("Content-Length", str((claimed or len(content)) - start))
    handler.end_headers()
    return start


def whole(content, ranges=True, kind="application/octet-stream"):
    """The file as it should come."""

    def answer(handler):
        start = _start(handler, content, ranges, kind=kind)
        if start is not None:
            handler.wfile.write(content[start:])

    return answer


def slow(content, pieces=20, pause=0.02):
    """In pieces."""

    def answer(handler):
        start = _start(handler, content)
        step = max(1, len(content) // pieces)
        for at in range(start or 0, len(content), step):
            handler.wfile.write(content[at : at + step])
            handler.wfile.flush()
            time.sleep(pause)

    return answer


def cut(content, every, times=10**9, ranges=True):
    """The connection closes after so many bytes, so many times."""
    left = [times]

    def answer(handler):
        start = _start(handler, content, ranges)
        if start is None:
            return
        stop = len(content) if left[0] == 0 else start + every
        left[0] -= left[0] > 0
        handler.wfile.write(content[start:stop])

    return answer


def first_then(first, rest):
    """One answer, and another one from then on."""
    answers = itertools.chain([first], itertools.repeat(rest))
    return lambda handler: next(answers)(handler)


def claiming(content, length):
    """More bytes are announced than come."""
    return lambda handler: handler.wfile.write(content[_start(handler, content, ranges=False, claimed=length) :])


def page(text):
    """A web page instead of the file."""
    return whole(text.encode(), ranges=False, kind="text/html; charset=utf-8")


def status(code):
    """An error."""

    def answer(handler):
        handler.send_response(code)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


def silent(seconds):
    """Nothing for a while."""
    return lambda handler: time.sleep(seconds)
