"""Requests that mean no good, to a real server: each gets a status and a sentence, and the server lives on."""

from __future__ import annotations

import io
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Event, Semaphore

import numpy as np
import pytest
from PIL import Image
from starlette.requests import Request

from paribus.launch import conduct
from paribus.store import Results, TestSet
from paribus.testing.synthetic import example_experiment, write_results
from paribus.web.app import create_app
from web_server import Address, Reply, serving

LONG = "x" * 20_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    parent = tmp_path_factory.mktemp("results")
    conduct.rebuild(write_results(parent / "example", example_experiment(seeds=2, epochs=2), {"control": 0.9}))
    (parent / "secret.txt").write_text("not for the web")
    (parent / "notes").mkdir()
    return parent


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Address]:
    with serving(folder) as address:
        yield address


def is_alive(server: Address) -> bool:
    return server.get("/").status == 200


NO_PAGE = r"^There must be a page at this address, but there is none at `.*`\. The first page leads to all\.$"
NO_FOLDER = r"^There must be a result folder of this name, but there is no `.*`\."
PATHS = {
    "dots": ("/experiments/../../etc/passwd", 404, NO_PAGE),
    "dots within": ("/experiments/example/../../secret.txt", 404, NO_PAGE),
    "quoted dots": ("/experiments/%2e%2e%2f%2e%2e%2fetc%2fpasswd", 404, NO_PAGE),
    "the folder above": ("/experiments/..", 404, NO_FOLDER),
    "the folder above, quoted": ("/api/experiments/%2e%2e", 404, NO_FOLDER),
    "twice quoted": ("/experiments/%252e%252e%252fexample", 404, NO_FOLDER),
    "backslashes": ("/experiments/..%5c..%5cexample", 404, NO_FOLDER),
    "the folder itself": ("/experiments/.", 404, NO_FOLDER),
    "a folder that is no result": ("/experiments/notes", 404, NO_FOLDER),
    "a file": ("/experiments/secret.txt", 404, NO_FOLDER),
    "another case": ("/experiments/EXAMPLE", 404, r"Did you mean `example`\?"),
    "an absolute path": ("/experiments/%2Fetc", 404, NO_PAGE),
    "two slashes": ("//etc/passwd", 404, NO_PAGE),
    "NUL": ("/experiments/example%00.html", 404, NO_FOLDER),
    "a control character": ("/experiments/a%0d%0aSet-Cookie:x", 404, NO_FOLDER),
    "no UTF-8": ("/experiments/%ff%fe", 404, NO_FOLDER),
    "a very long name": (f"/experiments/{LONG}", 404, "`x{59}…`"),
    "a script for a name": ("/experiments/%3Cscript%3Ealert(1)%3C%2Fscript%3E", 404, NO_PAGE),
    "a script without a slash": ("/experiments/%3Cimg%20src=x%20onerror=alert(1)%3E", 404, NO_FOLDER),
    "static dots": ("/static/..%2f..%2fapp.py", 404, NO_PAGE),
    "static, no file": ("/static/app.py", 404, "^A file must be one that pages refer to, but got `app.py`. Load"),
    "an image before the first": (
        "/api/experiments/example/images/x/-1",
        404,
        "^There must be a test set of this name",
    ),
    "an image that is no number": (
        "/api/experiments/example/images/x/0x10",
        422,
        "^What is asked for must be complete",
    ),
    "an image beyond all numbers": (f"/api/experiments/example/images/x/{'9' * 5000}", 422, "`index`: "),
    "a test set by a path": ("/api/experiments/example/images/..%2f..%2fx/0", 404, NO_PAGE),
    "an unknown question": (
        "/api/experiments/example/curves?question=../x",
        404,
        "^There must be a question of this id",
    ),
    "no sides": ("/api/experiments/example/compare", 422, "`first`: field required; `second`: field required"),
    "an arm by a path": (
        "/api/experiments/example/compare?first=..%2f..&second=control",
        404,
        r"^A side must be an arm or a run of it, such as `control` or `control/0`, but got `\.\./\.\.`\.$",
    ),
    "a seed that is none": ("/experiments/example/compare?first=control/01&second=control", 404, "^A side must be"),
    "FastAPI's own pages": ("/docs", 404, NO_PAGE),
}


@pytest.mark.parametrize("name", PATHS)
def test_a_hostile_address_is_told_what_is_wrong(server: Address, name: str) -> None:
    path, status, sentence = PATHS[name]
    reply = server.get(path)
    assert reply.status == status
    assert re.search(sentence, reply.error)
    assert "Traceback" not in reply.error
    assert is_alive(server)


def test_an_image_that_is_not_there_is_told_how_many_there_are(server: Address, folder: Path) -> None:
    (data,) = (folder / "example" / "data").glob("*.npz")
    address = f"/api/experiments/example/images/{data.stem}"
    assert server.get(f"{address}/0").body.startswith(b"\x89PNG")
    for index in (-1, 200):
        assert server.get(f"{address}/{index}").error == (
            f"There are 200 test images, counted from 0, but {index} was asked for."
        )


HEADERS = {
    "another host": ({"Host": "attacker.example"}, 400, "^The Host header must name this server, but got `attacker.ex"),
    "another host at our port": ({"Host": "attacker.example:80"}, 400, "must name this server"),
    "a host that begins like ours": ({"Host": "127.0.0.1.attacker.example"}, 400, "must name this server"),
    "a host with a user": ({"Host": "localhost@attacker.example"}, 400, "must name this server"),
    "a host with a path": ({"Host": "localhost:80/x"}, 400, "must name this server"),
    "an address that is not ours": ({"Host": "192.0.2.7"}, 400, "must name this server"),
    "no host's name": ({"Host": ""}, 400, "must name this server"),
    "a script as host": ({"Host": "<script>"}, 400, "but got `<script>`"),
    "a gigabyte declared": ({"Content-Length": "1073741824"}, 413, "^A request must have at most 11 MiB. Send less.$"),
    "more digits than a number has": ({"Content-Length": "9" * 19}, 413, "at most 11 MiB"),
}


@pytest.mark.parametrize("name", HEADERS)
def test_hostile_headers_are_told_what_is_wrong(server: Address, name: str) -> None:
    headers, status, sentence = HEADERS[name]
    reply = server.get("/", **headers)
    assert reply.status == status
    assert re.search(sentence, reply.error)
    assert is_alive(server)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:80", "127.0.0.1:1", "[::1]:8765", "[::1]"])
def test_this_machine_may_be_named_as_it_likes(server: Address, host: str) -> None:
    assert server.get("/", Host=host).status == 200


@pytest.mark.parametrize(
    "method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "get", "X" * 300]
)
def test_other_methods_are_refused(server: Address, method: str) -> None:
    reply = server.send(method, "/api/experiments")
    assert reply.status == 405
    assert reply.error.startswith("The method must be one of GET, HEAD, POST, but got")
    assert len(reply.error) < 200
    assert is_alive(server)


def test_there_is_nothing_to_post_to(server: Address) -> None:
    reply = server.send("POST", "/api/experiments", {"Content-Length": "2"}, b"{}")
    told = "This address must be asked for otherwise, but got POST. The page /api tells how."
    assert (reply.status, reply.error) == (405, told)


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://attacker.example"},
        {"Origin": "null"},
        {"Origin": "https://127.0.0.1"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site", "Origin": "http://127.0.0.1:1"},
    ],
)
def test_writes_from_other_sites_are_refused(server: Address, headers: dict[str, str]) -> None:
    reply = server.send("POST", "/api/experiments", headers)
    assert reply.status == 403
    assert reply.error.startswith("Only this server's own pages may send to it, but this came from `")


def test_writes_from_our_own_pages_come_through_to_the_routes(server: Address) -> None:
    own = {"Origin": server.url, "Sec_Fetch_Site": "same-origin"}
    assert server.send("POST", "/api/experiments", own).status == 405
    assert server.send("POST", "/api/experiments").status == 405  # A program, which no page can make.


@pytest.mark.parametrize("lines", [{"X": "y" * 40_000}, {f"X{place}": "y" for place in range(9_000)}])
def test_giant_headers_are_refused(server: Address, lines: dict[str, str]) -> None:
    reply = server.get("/", **lines)
    assert reply.status in (400, 431)  # 400 is h11's own, where they come in many pieces.
    assert reply.status == 400 or reply.error == "Headers must have at most 32 KiB together. Send less."
    assert is_alive(server)


@pytest.mark.parametrize(
    "content",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: attacker.example\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\x00" * 2000 + b"\r\n\r\n",
    ],
    ids=["no host", "two", "negative length", "two lengths", "NUL", "TLS", "zeros"],
)
def test_what_is_no_http_is_answered_by_400(server: Address, content: bytes) -> None:
    reply = server.raw(content)
    assert reply.status == 400
    assert reply.body
    assert b"Traceback" not in reply.body
    assert is_alive(server)


def test_a_body_that_hides_its_length_is_cut_off(folder: Path) -> None:
    """The router that reads bodies comes with drawing; here a route of the test's own stands for it."""
    app, read = create_app(folder), []

    @app.post("/api/sink")
    async def sink(request: Request) -> int:
        async for part in request.stream():
            read.append(len(part))
        return sum(read)

    head = {"Transfer-Encoding": "chunked"}
    piece = b"%x\r\n" % 2**20 + b"z" * 2**20 + b"\r\n"
    with serving(folder, app) as server:
        fits = server.send("POST", "/api/sink", head, piece * 11 + b"0\r\n\r\n")
        assert (fits.status, fits.json) == (200, 11 * 2**20)
        read.clear()
        reply = server.send("POST", "/api/sink", head, piece * 11 + b"1\r\nz\r\n0\r\n\r\n")
        assert (reply.status, reply.error) == (413, "A request must have at most 11 MiB. Send less.")
        assert is_alive(server)


def test_a_bug_of_ours_shows_no_traceback(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    app = create_app(folder)

    @app.get("/boom")
    def boom() -> None:
        raise ZeroDivisionError("a secret")

    with serving(folder, app) as server:
        reply = server.get("/boom")
        page = server.get("/boom", Accept="text/html")
    assert reply.status == page.status == 500
    assert reply.error.startswith("This is a bug in paribus; the terminal in which `paribus serve` runs")
    assert b"secret" not in reply.body + page.body
    assert b"Zero" not in reply.body + page.body
    assert "nosniff" in page.headers["x-content-type-options"]
    assert "a secret" in caplog.text


def test_every_answer_guards_the_browser(server: Address) -> None:
    for path in ("/", "/experiments/none", "/api/experiments", "/static/style.css", "/openapi.json"):
        headers = server.get(path).headers
        policy = headers["content-security-policy"]
        assert "script-src 'self';" in policy
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert not [name for name in headers if name.startswith("access-control")]
        assert "server" not in headers


def test_errors_are_pages_for_browsers(server: Address) -> None:
    reply = server.get("/experiments/%3Cimg%20src=x%3E", Accept="text/html")
    assert reply.status == 404
    assert reply.headers["content-type"].startswith("text/html")
    assert b"<h1>This cannot be shown</h1>" in reply.body
    assert b"&lt;img src=x&gt;" in reply.body
    assert b"<img src=x" not in reply.body


def test_the_report_is_served_as_a_page_without_rights(server: Address) -> None:
    reply = server.get("/experiments/example/report")
    assert reply.status == 200
    policy = reply.headers["content-security-policy"]
    assert policy.startswith("sandbox")
    assert "allow-scripts" not in policy
    assert "allow-same-origin" not in policy
    assert "script-src" not in policy
    assert "default-src 'none'" in policy


SCRIPT = "<script>alert(1)</script>"


def hostile_results(folder: Path) -> Results:
    """A result whose title, question, class and failure are scripts."""
    plain = example_experiment(seeds=2, epochs=2)
    questions = tuple(replace(question, asks=f"{SCRIPT} {question.id}") for question in plain.questions)
    accuracy = {"control": 0.7, "relu": 0.9}
    results = write_results(folder, replace(plain, title=SCRIPT, questions=questions), accuracy)
    (path,) = (folder / "data").glob("*.npz")
    test = results.test_set(path.stem)
    path.unlink()
    names = (SCRIPT, *test.class_names[1:])
    results.write_test_set(path.stem, TestSet(test.images, test.labels, names, SCRIPT))
    conduct.rebuild(results)
    run = results.run_folder("max", 1)
    (run / "result.json").unlink()
    (run / "failure.txt").write_text(SCRIPT)
    return results


def test_scripts_in_names_are_text(tmp_path: Path) -> None:
    hostile_results(tmp_path / "results" / "a&b <i>")
    with serving(tmp_path / "results") as server:
        address = "/experiments/a%26b%20%3Ci%3E"
        pages = ["/", address, f"{address}/compare?first=control&second=relu", f"{address}/report"]
        replies = [server.get(path, Accept="text/html") for path in pages]
        for path, reply in zip(pages, replies, strict=True):
            assert reply.status == 200, path
            assert b"&lt;script&gt;alert(1)" in reply.body, path
            assert b"<script>" not in reply.body, path
            assert b"<i>" not in reply.body, path
        answer = server.get(f"/api{address}").json
    assert answer["title"] == SCRIPT


def parallel(server: Address, paths: list[str]) -> list[tuple[Reply, float]]:
    def timed(path: str) -> tuple[Reply, float]:
        began = time.monotonic()
        return server.get(path), time.monotonic() - began

    with ThreadPoolExecutor(len(paths)) as pool:
        return list(pool.map(timed, paths))


def test_a_hundred_requests_at_once_do_not_stall_the_page(server: Address) -> None:
    heavy = ["/api/experiments/example/compare?first=control&second=relu"] * 70
    light = ["/experiments/example", "/api/experiments/example/progress", "/static/style.css"] * 10
    found = parallel(server, [*heavy, *light])
    assert {reply.status for reply, _ in found} == {200}
    assert len({reply.body for reply, _ in found[:70]}) == 1
    assert max(seconds for _, seconds in found) < 20
    assert is_alive(server)


def test_the_event_loop_is_free_while_routes_work(folder: Path) -> None:
    """As many slow routes at once as there are threads but one leave room for the page."""
    app, begun, ended = create_app(folder), Semaphore(0), Event()

    @app.get("/api/slow")
    def slow() -> bool:
        begun.release()
        return ended.wait(20)

    with serving(folder, app) as server, ThreadPoolExecutor(39) as pool:
        waiting = [pool.submit(server.get, "/api/slow") for _ in range(39)]
        assert all(begun.acquire(timeout=20) for _ in waiting)
        assert is_alive(server)
        assert not any(each.done() for each in waiting)
        ended.set()
        assert {each.result().json for each in waiting} == {True}


def test_other_machines_may_ask_by_address_but_not_by_a_name(folder: Path) -> None:
    app = create_app(folder, ("my-machine",), any_address=True)
    with serving(folder, app) as server:
        for host in ("192.0.2.7:8765", "[2001:db8::1]:80", "my-machine:8765", "localhost"):
            assert server.get("/", Host=host).status == 200
        assert server.get("/", Host="attacker.example").status == 400


def test_images_are_those_of_the_store(server: Address, folder: Path) -> None:
    (data,) = (folder / "example" / "data").glob("*.npz")
    stored = Results.open(folder / "example").test_set(data.stem).images[3]
    reply = server.get(f"/api/experiments/example/images/{data.stem}/3")
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(reply.body))), stored[0])
    assert "immutable" in reply.headers["cache-control"]
