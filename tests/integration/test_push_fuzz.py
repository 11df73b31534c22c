"""Whatever is sent to whatever endpoint: a decent refusal, no traceback, and no file where none belongs."""

import asyncio
import json
import logging
import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import pytest

from tests.builders import OCI_INDEX, OCI_MANIFEST, blob, image
from tests.integration.harness import Cache
from tests.integration.pushing import APP, push_image

T = TypeVar("T")

HELD = image(layers=1, seed="held")
LAYER = HELD.layers[0]
REQUESTS = 400
HOSTILE = [
    "..",
    "../../../etc/passwd",
    "%2e%2e/%2e%2e/x",
    "%2fetc%2fpasswd",
    "/etc/passwd",
    "a%00b",
    "a%0d%0aX-Injected:%201",
    "%ff%fe",
    "%ZZ",
    "%",
    "x" * 5000,
    "ünïcode",
    "%F0%9F%90%B3",
    "'; DROP TABLE blobs; --",
    "{}",
    "sha256:",
    f"sha256:{'0' * 63}",
    f"sha256:{'A' * 64}",
    f"sha256:..%2f..%2f{'0' * 58}",
    f"sha512:{'0' * 128}",
    f"md5:{'0' * 32}",
    ":",
    "?",
    "#",
    "&&==",
    " ",
    "",
]
NAMES = [
    APP,
    APP,
    APP,
    "local",
    "local/a/b/c",
    "library/alpine",
    "docker.io/local/app",
    "quay.io/x",
    "local/" + "y" * 260,
]
REFERENCES = ["1", "latest", HELD.digest, LAYER.digest, blob(9).digest]
SESSIONS = ["", "0" * 32, "00000000000040008000000000000000", "../blobs", "..%2f..%2fformat", "." * 300]
NUMBERS = ["0", "1", "-1", "99999999999999999999", "1e9", "NaN", "0x10", " 5", "٣", ""]
METHODS = ["GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW", "CONNECT"]
ENDPOINTS = {
    "/v2/{name}/manifests/{reference}": ["PUT", "PUT", "PUT", "GET", "HEAD", "DELETE"],
    "/v2/{name}/blobs/{reference}": ["GET", "HEAD", "DELETE"],
    "/v2/{name}/blobs/uploads/": ["POST"],
    "/v2/{name}/blobs/uploads/{session}": ["PATCH", "PUT", "GET", "DELETE"],
    "/v2/{name}/referrers/{reference}": ["GET"],
    "/v2/{name}/tags/list": ["GET"],
    "/v2/{name}/tags/{reference}": ["GET"],
    "/v2/_catalog": ["GET"],
    "/v2/{name}": ["GET"],
    "/-/live": ["GET"],
    "/-/{reference}": ["GET"],
    "/-/token": ["GET", "POST"],
    "{reference}": ["GET"],
    "http://elsewhere/v2/": ["GET"],
}
TYPES = [OCI_MANIFEST, OCI_INDEX, "application/json", "", "a/b", "/", "text/html; charset=\xff", "x" * 3000]
VALUES = [None, True, -1, 2**63, 10**400, 1e308, "", "\ud800", "\0", [], {}, [[]], [None], "sha256:" + "0" * 64]
FIELDS = [
    "schemaVersion",
    "mediaType",
    "config",
    "layers",
    "manifests",
    "subject",
    "artifactType",
    "annotations",
    "urls",
]
KEYS = [
    "n",
    "last",
    *["digest"] * 5,
    "mount",
    "from",
    "tag",
    "ns",
    "artifactType",
    "digest-algorithm",
    "scope",
    "_state",
]
# The tree of store/layout; nothing else may lie in the directory.
ALLOWED = re.compile(
    r"format|proxycache\.db(-wal|-shm)?|(locks|lines|allowances)/[0-9a-f]{32}|secrets/(token\.key|failures)"
    r"|blobs/(sha256/[0-9a-f]{2}/[0-9a-f]{64}|sha512/[0-9a-f]{2}/[0-9a-f]{128})"
    r"|uploads/[0-9a-f]{32}\.(data|json)|spools/[0-9a-f-]+\.(data|record|reserved)"
)


class Fuzzer:
    """Makes requests of all that may be wrong in one, and of some of what may be right, so that they get far."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self.sessions: list[str] = []

    def _choose(self, items: Sequence[T]) -> T:
        return self._chance.choice(items)

    def _odd(self, fine: Sequence[str], odd: Sequence[str] = HOSTILE) -> str:
        return self._choose(odd if self._chance.random() < 0.15 else fine)

    def request(self) -> tuple[bytes, bool]:
        """Return a request, and whether the server can tell where it ends."""
        body, is_whole, endpoint = self._body(), True, self._choose([*list(ENDPOINTS), *list(ENDPOINTS)[:4] * 8])
        method, target = self._odd(ENDPOINTS[endpoint], METHODS), self._target(endpoint)
        if self._chance.random() < 0.1:  # all right, but for the headers
            method, target, body = "PUT", f"/v2/{APP}/manifests/1", HELD.body
        lines = [f"{method} {target} HTTP/1.{self._choose('111110')}", "Host: 127.0.0.1"]
        lines += [f"{name}: {text}" for name, text in self._headers()] + ["Connection: close"]
        match self._chance.randrange(10):
            case 0:
                lines.append("Transfer-Encoding: chunked")
                body, is_whole = self._chunked(body)
            case 1:
                lines.append(f"Content-Length: {self._choose([*NUMBERS, str(len(body) + 10)])}")
                is_whole = False
            case _:
                lines.append(f"Content-Length: {len(body)}")
        head = "\r\n".join([*lines, "", ""])
        encoded = head.encode(self._choose(["utf-8", "latin-1"]), "replace")
        return encoded + body, is_whole and method != "CONNECT" and "Upgrade" not in head

    def _target(self, endpoint: str) -> str:
        sessions = [*SESSIONS, *self.sessions[-3:] * 4]
        target = endpoint.format(name=self._odd(NAMES), reference=self._odd(REFERENCES), session=self._odd(sessions))
        fields = [f"{self._choose(KEYS)}={self._odd([*REFERENCES * 3, *NUMBERS, *NAMES])}" for _ in range(2)]
        return target + self._choose(["", "?" + fields[0], "?" + "&".join(fields)])

    def _headers(self) -> list[tuple[str, str]]:
        number = f"{self._choose(NUMBERS)}-{self._choose(NUMBERS)}"
        possible = [
            ("Content-Type", self._odd(TYPES)),
            ("Content-Range", self._choose([number, f"bytes {number}/*", "0-0", "0-99", "-", "x"])),
            ("Range", self._choose([f"bytes={number}", "bytes=0-0,5-9", "lines=1", "bytes=", f"bytes={'0-,' * 500}"])),
            ("If-None-Match", self._odd(["*", f'"{HELD.digest}"', '"'])),
            ("If-Range", self._odd([f'"{LAYER.digest}"'])),
            ("Authorization", self._odd(["Basic Og==", "Basic !!!", "Bearer a.b.c", "Bearer " + "z" * 2000])),
            ("Expect", self._odd(["100-continue", "200-maybe"])),
            ("Content-Encoding", self._choose(["gzip", "zstd", "identity", "x"])),
            ("Via", self._odd(["1.1 somebody"])),
            ("X-Forwarded-Host", self._odd(["example.com"])),
            ("Upgrade", "websocket"),
        ]
        return [(name, text) for name, text in self._chance.sample(possible, self._chance.randrange(4))]

    def _body(self) -> bytes:
        cut = self._chance.randrange(HELD.manifest.size)
        document = json.dumps(self._document(3)).encode("utf-8", "surrogatepass")
        nested = self._choose([b"[", b'{"layers":', b'{"a":']) * 5000
        odd = self._choose([b"\xff\xfe{}", b"null", b"1e999", b'{"config": 1E400}'])
        fine = self._choose([HELD.body, LAYER.body])
        return self._choose([b"", self._chance.randbytes(cut), fine, fine, fine[:cut], nested, odd, document, document])

    def _document(self, depth: int) -> object:
        if depth == 0 or self._chance.random() < 0.2:
            return self._choose([*VALUES, HELD.manifest.descriptor(), LAYER.descriptor(), [LAYER.descriptor()]])
        document = {key: self._document(depth - 1) for key in self._chance.sample(FIELDS, 3)}
        return document | self._choose([{}, {"schemaVersion": 2}, LAYER.descriptor()])

    def _chunked(self, body: bytes) -> tuple[bytes, bool]:
        chunk = f"{len(body):x}\r\n".encode() + body + b"\r\n" if body else b""
        if self._chance.random() < 0.6:
            return chunk + b"0\r\n\r\n", True
        return self._choose([chunk, b"zz\r\n", b"-5\r\n", b"ffffffffffffffffff\r\n"]), False


async def send(cache: Cache, request: bytes, *, is_whole: bool) -> bytes:
    """Send bytes and no more; return what comes back: all, unless the server has to wait for more bytes, too."""
    host, _, port = cache.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    answer = b""
    try:
        writer.write(request)
        async with asyncio.timeout(20 if is_whole else 0.05):
            while piece := await reader.read(2**16):
                answer += piece
    except ConnectionError:
        pass
    except TimeoutError:
        assert not is_whole, request[:2000]
    finally:
        writer.transport.abort()
    return answer


def tree(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if not path.is_dir()}


@pytest.mark.parametrize("seed", range(4))
async def test_nothing_that_is_sent_breaks_anything(cache, upstream, tmp_path, caplog, seed):
    caplog.set_level(logging.WARNING)
    await push_image(cache, HELD, "held")
    fuzzer, statuses = Fuzzer(seed), set[int]()
    for _ in range(REQUESTS):
        request, is_whole = fuzzer.request()
        answer = await send(cache, request, is_whole=is_whole)
        for found in re.findall(rb"(?m)^HTTP/1\.[01] (\d{3})", answer):
            status = int(found)
            statuses.add(status)
            assert status < 500 or status in (501, 502, 505), request[:2000]
        assert b"Traceback" not in answer
        assert b"X-Injected" not in answer.partition(b"\r\n\r\n")[0], request[:2000]
        location = re.search(rb"(?mi)^Docker-Upload-UUID: ([0-9a-f]{32})\r$", answer)
        if location:
            fuzzer.sessions.append(location[1].decode())

    assert {200, 201, 202, 400, 404, 405} <= statuses
    assert [
        record.getMessage() for record in caplog.records if record.exc_info or record.levelno >= logging.ERROR
    ] == []
    assert {path.name for path in tmp_path.iterdir()} == {"data"}
    assert [path for path in tree(tmp_path / "data") if not ALLOWED.fullmatch(path)] == []
    await push_image(cache, HELD, "again")
    assert (await cache.get_manifest(APP, "again")).body == HELD.body
    assert (await cache.get_blob(APP, LAYER.digest)).body == LAYER.body
