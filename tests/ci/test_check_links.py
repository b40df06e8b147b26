"""The check of links asks a small server on this machine, and finds what a reader would not."""

import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import check_links
import pytest

STATUS = {"/here": 200, "/gone": 404, "/refused": 403, "/busy": 503, "/moved": 301}


class Handler(BaseHTTPRequestHandler):
    asked: list = []  # noqa: RUF012, one for all requests

    def do_GET(self):
        self.asked.append(self.path)
        self.send_response(STATUS[self.path])
        if self.path == "/moved":
            self.send_header("Location", "/here")
        self.end_headers()

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(check_links, "PAUSE", 0.0)
    monkeypatch.setattr(Handler, "asked", [])
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


@pytest.fixture
def asker():
    return check_links.Asker(5.0, pause=0.0)


@pytest.mark.parametrize(
    ("path", "broken"),
    [("/here", False), ("/moved", False), ("/refused", False), ("/gone", True), ("/busy", True)],
)
def test_an_answer_is_broken_or_not(server, asker, path, broken):
    assert check_links.is_broken(asker.ask(server + path)) is broken


def test_only_what_may_pass_is_asked_again(server, asker):
    asker.ask(f"{server}/gone")
    asker.ask(f"{server}/busy")
    assert Handler.asked == ["/gone"] + ["/busy"] * check_links.TRIES


def test_a_server_that_is_not_there_is_broken(asker):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}/"
    status = asker.ask(address)
    assert isinstance(status, str) and "ConnectionError" in status
    assert check_links.is_broken(status)


def test_addresses_are_found_in_pages_and_documents():
    page = '<a href="https://a.org/x#y">1</a><a href="page.html">2</a><a href="mailto:a@b.c">3</a><a href="#z">4</a>'
    assert check_links.addresses_of_page(page) == {"https://a.org/x"}
    text = "[a](https://a.org/x), <https://b.org>, see https://c.org/y. ![d](https://d.org/e.svg) url = {https://f.org}"
    assert check_links.addresses_of_document(text) == {
        "https://a.org/x",
        "https://b.org",
        "https://c.org/y",
        "https://d.org/e.svg",
        "https://f.org",
    }


def test_broken_links_are_printed_with_their_pages(server, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(check_links, "DOCUMENTS", ("README.md",))
    monkeypatch.setattr(check_links, "collect", lambda html, collect=check_links.collect: collect(html, tmp_path))
    (tmp_path / "README.md").write_text(f"[a]({server}/here) [b]({server}/gone)")
    html = tmp_path / "html"
    html.mkdir()
    (html / "index.html").write_text(f'<a href="{server}/gone">1</a><a href="{server}/refused">2</a>')
    assert check_links.main([str(html)]) == 1
    assert capsys.readouterr().out.splitlines() == [
        f"broken: {server}/gone (404), in index.html, README.md",
        f"refused: {server}/refused (403), in index.html",
        "3 addresses, 1 broken",
    ]
    (tmp_path / "README.md").write_text(f"[a]({server}/here)")
    (html / "index.html").write_text("")
    assert check_links.main([str(html)]) == 0


def test_a_book_that_is_not_built_is_an_error(tmp_path, capsys):
    with pytest.raises(SystemExit):
        check_links.main([str(tmp_path)])
    assert "must be the folder of a built book" in capsys.readouterr().err
