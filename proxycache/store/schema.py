"""The tables, as numbered steps: a step that was released is never changed, a new one goes to the end.

`user_version` holds how many steps a database has seen. A table whose row is little more than its key is WITHOUT
ROWID: its primary key is then the table, one lookup instead of two. Rows that carry a document keep their rowid, since
long rows would make such a tree deep.
"""

_FIRST_TABLES = (
    # What an anonymous reader may see upstream, as it was found out at checked_at.
    """
    CREATE TABLE repositories (
        name TEXT NOT NULL PRIMARY KEY,
        is_public INTEGER NOT NULL,
        checked_at REAL NOT NULL
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE blobs (
        digest TEXT NOT NULL PRIMARY KEY,
        size INTEGER NOT NULL,
        is_public INTEGER NOT NULL,
        stored_at REAL NOT NULL
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE links (
        repository TEXT NOT NULL,
        digest TEXT NOT NULL,
        PRIMARY KEY (repository, digest)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE manifests (
        digest TEXT NOT NULL PRIMARY KEY,
        media_type TEXT NOT NULL,
        size INTEGER NOT NULL,
        subject TEXT,
        artifact_type TEXT NOT NULL,
        annotations TEXT NOT NULL
    )
    """,
    "CREATE INDEX manifests_by_subject ON manifests (subject) WHERE subject IS NOT NULL",
    """
    CREATE TABLE manifest_references (
        manifest TEXT NOT NULL,
        digest TEXT NOT NULL,
        size INTEGER NOT NULL,
        media_type TEXT NOT NULL,
        PRIMARY KEY (manifest, digest)
    ) WITHOUT ROWID
    """,
    "CREATE INDEX manifest_references_by_digest ON manifest_references (digest)",
    """
    CREATE TABLE tags (
        repository TEXT NOT NULL,
        tag TEXT NOT NULL,
        digest TEXT NOT NULL,
        media_type TEXT NOT NULL,
        size INTEGER NOT NULL,
        checked_at REAL NOT NULL,
        PRIMARY KEY (repository, tag)
    ) WITHOUT ROWID
    """,
    # The order in which tags are listed, see store/tags.
    "CREATE INDEX tags_in_order ON tags (repository, lower(tag), tag)",
    """
    CREATE TABLE negatives (
        key TEXT NOT NULL PRIMARY KEY,
        code TEXT NOT NULL,
        until REAL NOT NULL
    ) WITHOUT ROWID
    """,
    "CREATE INDEX negatives_by_end ON negatives (until)",
    """
    CREATE TABLE documents (
        key TEXT NOT NULL PRIMARY KEY,
        body BLOB NOT NULL,
        checked_at REAL NOT NULL
    )
    """,
)

_AGES_OF_DOCUMENTS = ("CREATE INDEX documents_by_age ON documents (checked_at)",)

# How much a blob was used, and so when it goes: `rank` is for eviction, see store/usage. A blob `is_leaving` from
# before its file is removed until its row goes: a row that promises nothing. A file takes blocks of 4 KiB.
_BOUNDS = (
    "ALTER TABLE blobs ADD COLUMN used_at REAL NOT NULL DEFAULT 0",
    "ALTER TABLE blobs ADD COLUMN uses INTEGER NOT NULL DEFAULT 1",
    "ALTER TABLE blobs ADD COLUMN rank REAL NOT NULL DEFAULT 0",
    "ALTER TABLE blobs ADD COLUMN is_leaving INTEGER NOT NULL DEFAULT 0",
    "UPDATE blobs SET used_at = stored_at",
    "CREATE INDEX blobs_by_rank ON blobs (rank, digest)",
    "CREATE INDEX blobs_leaving ON blobs (digest) WHERE is_leaving = 1",
    "CREATE INDEX links_by_digest ON links (digest, repository)",
    # One row: what the blobs take on disk, and the rank of what was evicted last.
    """
    CREATE TABLE space (
        id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
        cached_bytes INTEGER NOT NULL,
        level REAL NOT NULL
    )
    """,
    "INSERT INTO space SELECT 1, coalesce(sum((size + 4095) / 4096 * 4096), 0), 0 FROM blobs",
    """
    CREATE TRIGGER blob_added AFTER INSERT ON blobs BEGIN
        UPDATE space SET cached_bytes = cached_bytes + (new.size + 4095) / 4096 * 4096;
    END
    """,
    """
    CREATE TRIGGER blob_removed AFTER DELETE ON blobs BEGIN
        UPDATE space SET cached_bytes = cached_bytes - (old.size + 4095) / 4096 * 4096;
    END
    """,
    # No tag: the whole repository.
    """
    CREATE TABLE pins (
        repository TEXT NOT NULL,
        tag TEXT NOT NULL,
        pinned_at REAL NOT NULL,
        PRIMARY KEY (repository, tag)
    ) WITHOUT ROWID
    """,
)

MIGRATIONS: tuple[tuple[str, ...], ...] = (_FIRST_TABLES, _AGES_OF_DOCUMENTS, _BOUNDS)
