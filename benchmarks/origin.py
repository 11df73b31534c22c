"""The upstream of the benchmarks: files named like the paths of the registry API, served by nginx."""

import contextlib
import hashlib
import io
import json
import os
import random
import shutil
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.processes import Server, SubjectAbsent, free_port, serve

REPOSITORY = "library/bench"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
_BLOCK_SIZE = 1 << 20

Descriptor = dict[str, str | int]

_NGINX_CONFIGURATION = """
{user}
daemon off;
worker_processes 2;
pid {place}/nginx.pid;
error_log stderr error;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {place}/body;
    proxy_temp_path {place}/proxy;
    fastcgi_temp_path {place}/fastcgi;
    uwsgi_temp_path {place}/uwsgi;
    scgi_temp_path {place}/scgi;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000;
    types {{ }}
    default_type application/octet-stream;
    map_hash_bucket_size 256;
    map $uri $content_digest {{
        "~/(?<named>sha256:[0-9a-f]+)$" $named;
        include {place}/tags.map;
    }}
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        root {tree};
        limit_rate {rate};
        add_header Docker-Content-Digest $content_digest;
        add_header Docker-Distribution-Api-Version registry/2.0;
        location = /v2/ {{ default_type application/json; return 200 "{{}}"; }}
        location ~ /manifests/ {{ default_type {manifest_type}; }}
    }}
}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """Content that an origin has, and the path of the API that gives it."""

    digest: str
    size: int

    @property
    def path(self) -> str:
        return f"/v2/{REPOSITORY}/blobs/{self.digest}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """What an origin holds. Content depends on the seed alone, so that digests are the same in every run."""

    directory: Path
    tags: dict[str, str] = field(default_factory=dict)

    def add_blob(self, size: int, *, seed: int = 0) -> Blob:
        block = random.Random(f"{size} {seed}").randbytes(min(size, _BLOCK_SIZE))
        hasher = hashlib.sha256()
        growing = self._folder("blobs") / "growing"
        with growing.open("wb") as file:
            for start in range(0, size, _BLOCK_SIZE):
                piece = (start.to_bytes(8, "big") + block[8:])[: size - start]
                hasher.update(piece)
                file.write(piece)
        blob = Blob(digest=f"sha256:{hasher.hexdigest()}", size=size)
        growing.rename(growing.with_name(blob.digest))
        return blob

    def add_manifest(self, tag: str, layer: Blob) -> str:
        """Add an image of one layer under `tag`; its configuration is the layer too. Return the path by tag."""
        descriptor: Descriptor = {"mediaType": "application/octet-stream", "digest": layer.digest, "size": layer.size}
        return self._add_manifest(tag, descriptor, [descriptor])

    def add_image(self, tag: str, *, layers: int, size: int) -> None:
        """Add an image under `tag` that a client can unpack: each layer has one file of `size` random bytes."""
        chance = random.Random(f"{tag} {size}")
        archives = [archive_of(f"layer{number}", chance.randbytes(size)) for number in range(layers)]
        configuration = {
            "os": "linux",
            "architecture": "amd64",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [digest_of(archive) for archive in archives]},
        }
        self._add_manifest(
            tag,
            self._add_content("application/vnd.oci.image.config.v1+json", json.dumps(configuration).encode()),
            [self._add_content("application/vnd.oci.image.layer.v1.tar", archive) for archive in archives],
        )

    def _add_content(self, media_type: str, content: bytes) -> Descriptor:
        digest = digest_of(content)
        (self._folder("blobs") / digest).write_bytes(content)
        return {"mediaType": media_type, "digest": digest, "size": len(content)}

    def _add_manifest(self, tag: str, configuration: Descriptor, layers: list[Descriptor]) -> str:
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": configuration,
            "layers": layers,
            "annotations": {"tag": tag},
        }
        body = json.dumps(manifest).encode()
        digest = digest_of(body)
        for name in (tag, digest):
            (self._folder("manifests") / name).write_bytes(body)
        path = f"/v2/{REPOSITORY}/manifests/{tag}"
        self.tags[path] = digest
        return path

    def file_of(self, path: str) -> Path:
        return self.directory / path.removeprefix("/")

    def _folder(self, kind: str) -> Path:
        folder = self.directory / "v2" / REPOSITORY / kind
        folder.mkdir(parents=True, exist_ok=True)
        return folder


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def archive_of(name: str, content: bytes) -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as archive:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return written.getvalue()


@contextlib.contextmanager
def nginx_origin(tree: Tree, place: Path, *, rate_per_connection: int = 0) -> Iterator[Server]:
    """Serve `tree` by sendfile, each connection limited to a rate in bytes per second (0: not limited)."""
    nginx = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if nginx is None:
        raise SubjectAbsent("nginx is not installed")
    place.mkdir(parents=True)
    port = free_port()
    (place / "tags.map").write_text("".join(f"{path} {digest};\n" for path, digest in tree.tags.items()))
    configuration = _NGINX_CONFIGURATION.format(
        user="user root;" if os.geteuid() == 0 else "",
        place=place,
        port=port,
        tree=tree.directory,
        rate=rate_per_connection,
        manifest_type=MANIFEST_TYPE,
    )
    (place / "nginx.conf").write_text(configuration)
    command = [nginx, "-p", str(place), "-c", str(place / "nginx.conf"), "-e", "stderr"]
    with serve("nginx", command, port=port, log=place / "nginx.log", environment={}) as server:
        yield server
