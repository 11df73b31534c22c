"""The tree on disk, drawn once; every path comes from here.

    <directory>/
    ├── format                        version of this tree: "1"
    ├── blobs/sha256/ab/ab12…         complete, verified, read-only (store/blobs)
    ├── spools/                       files that still grow, and small ones before they are published
    │   ├── sha256-ab12….data         the bytes of one fill
    │   ├── sha256-ab12….record       how far it is, for all processes
    │   └── sha256-ab12….reserved     as long as its blob will be, and empty: the room that is promised to it
    ├── uploads/                      what is being pushed, one session per blob (store/uploads)
    │   ├── <32 hex>.data             its bytes
    │   └── <32 hex>.json             how far it is, for all processes
    ├── locks/<32 hex of a key>       claims, locked by who holds them (store/leases)
    ├── lines/<32 hex of a name>      until when the line to an upstream is taken (store/line)
    ├── allowances/<32 hex>           room that a process may give to small blobs (store/allowance)
    ├── secrets/                      mode 0700
    │   ├── token.key                 signs our tokens (store/secret_key)
    │   └── failures                  failed sign-ins of the last minute (store/failures)
    ├── ballast                       room for the database when the disk is full (store/ballast)
    └── proxycache.db                 rows, with -wal and -shm beside it (store/database)

All of it lies on one local file system: a spool becomes a blob by rename, and locks are `flock`.
"""

import hashlib
import os
from pathlib import Path
from uuid import uuid4

from proxycache.oci.digest import Digest
from proxycache.store.ballast import drop_ballast
from proxycache.store.durable import write_file
from proxycache.store.errors import FormatTooNew, StoreDamaged, StoreUnusable

FORMAT_VERSION = 1


class Layout:
    """The paths below one storage directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.format = directory / "format"
        self.blobs = directory / "blobs"
        self.spools = directory / "spools"
        self.uploads = directory / "uploads"
        self.locks = directory / "locks"
        self.allowances = directory / "allowances"
        self.lines = directory / "lines"
        self.secrets = directory / "secrets"
        self.token_key = self.secrets / "token.key"
        self.failures = self.secrets / "failures"
        self.ballast = directory / "ballast"
        self.database = directory / "proxycache.db"

    def blob(self, digest: Digest) -> Path:
        """Return where the published bytes of `digest` lie."""
        return self.blobs.joinpath(digest.algorithm, digest.encoded[:2], digest.encoded)

    def spool_data(self, digest: Digest) -> Path:
        """Return where the bytes of a fill of `digest` grow."""
        return self.spools / f"{digest.algorithm}-{digest.encoded}.data"

    def spool_record(self, digest: Digest) -> Path:
        """Return where a fill of `digest` says how far it is."""
        return self.spools / f"{digest.algorithm}-{digest.encoded}.record"

    def reservation(self, digest: Digest) -> Path:
        """Return what keeps room for `digest` until its row is there."""
        return self.spools / f"{digest.algorithm}-{digest.encoded}.reserved"

    def new_spool(self) -> Path:
        """Return a name among the spools that nobody else has, for content that is written in one go."""
        return self.spools / f"{uuid4().hex}.data"

    def upload_data(self, session: str) -> Path:
        """Return where the bytes of an upload session lie."""
        return self.uploads / f"{session}.data"

    def upload_record(self, session: str) -> Path:
        """Return where an upload session says how far it is."""
        return self.uploads / f"{session}.json"

    def lock(self, key: str) -> Path:
        """Return the file to lock for `key`, which may hold any text."""
        return self.locks / hashlib.sha256(key.encode()).hexdigest()[:32]

    def line(self, upstream: str) -> Path:
        """Return the file in which all workers keep to the bandwidth of `upstream`."""
        return self.lines / hashlib.sha256(upstream.encode()).hexdigest()[:32]

    def prepare(self) -> None:
        """Create what is missing; any number of processes may do so at once. A full disk lets a database be opened.

        Raises FormatTooNew, StoreDamaged or StoreUnusable, before anything is changed in a directory that another
        version wrote.
        """
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            self._check_format()
            drop_ballast(self.ballast)
            for directory in (self.blobs, self.spools, self.uploads, self.locks, self.lines, self.allowances):
                directory.mkdir(exist_ok=True)
            self.secrets.mkdir(mode=0o700, exist_ok=True)
            if not self.format.exists():
                write_file(self.format, f"{FORMAT_VERSION}\n".encode(), 0o644)
        except OSError as error:
            raise StoreUnusable(self.directory, str(error)) from error
        self._check_writable()

    def _check_format(self) -> None:
        try:
            text = self.format.read_text(encoding="utf-8", errors="replace").strip()
        except FileNotFoundError:
            return
        if not text.isdecimal():
            raise StoreDamaged(self.format, f"a version number was expected, not {text[:20]!r}")
        if int(text) > FORMAT_VERSION:
            raise FormatTooNew(self.directory, found=int(text), known=FORMAT_VERSION)

    def _check_writable(self) -> None:
        """Find out at the start what would else fail in the middle of the first fill."""
        for directory in (
            self.directory,
            self.blobs,
            self.spools,
            self.uploads,
            self.locks,
            self.lines,
            self.allowances,
            self.secrets,
        ):
            if not os.access(directory, os.W_OK | os.X_OK):
                raise StoreUnusable(directory, "it is not writable")
