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

# What was pushed here, beside what is cached: a local repository's blobs and manifests. `is_owned`: some row of these
# names it, or did until it is collected; it is no part of what may be evicted, nor of the budget.
_OWNED = (
    "ALTER TABLE blobs ADD COLUMN is_owned INTEGER NOT NULL DEFAULT 0",
    "DROP INDEX blobs_by_rank",
    "CREATE INDEX blobs_by_rank ON blobs (rank, digest) WHERE is_owned = 0",
    "CREATE INDEX blobs_owned ON blobs (digest) WHERE is_owned = 1",
    """
    CREATE TABLE local_links (
        repository TEXT NOT NULL,
        digest TEXT NOT NULL,
        linked_at REAL NOT NULL,
        PRIMARY KEY (repository, digest)
    ) WITHOUT ROWID
    """,
    "CREATE INDEX local_links_by_digest ON local_links (digest, repository)",
    """
    CREATE TABLE local_manifests (
        repository TEXT NOT NULL,
        digest TEXT NOT NULL,
        media_type TEXT NOT NULL,
        pushed_at REAL NOT NULL,
        PRIMARY KEY (repository, digest)
    ) WITHOUT ROWID
    """,
    "CREATE INDEX local_manifests_by_digest ON local_manifests (digest, repository)",
    # A link that no manifest of its repository needs, and an owned blob without any link, see store/garbage.
    """
    CREATE VIEW unneeded_links AS SELECT repository, digest, linked_at FROM local_links WHERE NOT EXISTS (
        SELECT 1 FROM manifest_references JOIN local_manifests
        ON local_manifests.digest = manifest_references.manifest
        AND local_manifests.repository = local_links.repository
        WHERE manifest_references.digest = local_links.digest
    )
    """,
    """
    CREATE VIEW orphans AS SELECT digest FROM blobs WHERE is_owned = 1
    AND NOT EXISTS (SELECT 1 FROM local_links WHERE local_links.digest = blobs.digest)
    AND NOT EXISTS (SELECT 1 FROM local_manifests WHERE local_manifests.digest = blobs.digest)
    """,
    "DROP TRIGGER blob_added",
    "DROP TRIGGER blob_removed",
    """
    CREATE TRIGGER blob_added AFTER INSERT ON blobs WHEN new.is_owned = 0 BEGIN
        UPDATE space SET cached_bytes = cached_bytes + (new.size + 4095) / 4096 * 4096;
    END
    """,
    """
    CREATE TRIGGER blob_removed AFTER DELETE ON blobs WHEN old.is_owned = 0 BEGIN
        UPDATE space SET cached_bytes = cached_bytes - (old.size + 4095) / 4096 * 4096;
    END
    """,
    """
    CREATE TRIGGER blob_changed_hands AFTER UPDATE OF is_owned ON blobs WHEN old.is_owned <> new.is_owned BEGIN
        UPDATE space SET
            cached_bytes = cached_bytes + (old.is_owned - new.is_owned) * ((old.size + 4095) / 4096 * 4096);
    END
    """,
)

# What its upstream no longer has goes last, see store/scarcity.
_SCARCE = (
    "ALTER TABLE blobs ADD COLUMN is_scarce INTEGER NOT NULL DEFAULT 0",
    "DROP INDEX blobs_by_rank",
    "CREATE INDEX blobs_by_rank ON blobs (is_scarce, rank, digest) WHERE is_owned = 0",
    "CREATE INDEX tags_by_digest ON tags (digest)",
)

# How often something that was answered before was taken back or moved: the one row's number grows in the transaction
# that does so, whoever does it. A purge adds to it itself: links also go with evicted blobs, whose answers stay true.
_REVOCATIONS = (
    "CREATE TABLE revocations (id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1), count INTEGER NOT NULL)",
    "INSERT INTO revocations VALUES (1, 0)",
    """
    CREATE TRIGGER tag_moved AFTER UPDATE ON tags
    WHEN old.digest <> new.digest OR old.media_type <> new.media_type OR old.size <> new.size BEGIN
        UPDATE revocations SET count = count + 1;
    END
    """,
    """
    CREATE TRIGGER tag_removed AFTER DELETE ON tags BEGIN
        UPDATE revocations SET count = count + 1;
    END
    """,
    """
    CREATE TRIGGER repository_hidden AFTER UPDATE ON repositories WHEN old.is_public = 1 AND new.is_public = 0 BEGIN
        UPDATE revocations SET count = count + 1;
    END
    """,
    """
    CREATE TRIGGER local_link_removed AFTER DELETE ON local_links BEGIN
        UPDATE revocations SET count = count + 1;
    END
    """,
    """
    CREATE TRIGGER local_manifest_removed AFTER DELETE ON local_manifests BEGIN
        UPDATE revocations SET count = count + 1;
    END
    """,
    """
    CREATE TRIGGER local_manifest_renamed AFTER UPDATE ON local_manifests WHEN old.media_type <> new.media_type BEGIN
        UPDATE revocations SET count = count + 1;
    END
    """,
)

# The origin ledger (store/origins), what local repositories borrow from it, and the bases that it is to know. A
# database from before knows from its manifests who had what, but not when.
_BORROWED = (
    """
    CREATE TABLE origins (
        digest TEXT NOT NULL,
        repository TEXT NOT NULL,
        size INTEGER NOT NULL,
        media_type TEXT NOT NULL,
        diff_id TEXT,
        seen_at REAL NOT NULL,
        PRIMARY KEY (digest, repository)
    ) WITHOUT ROWID
    """,
    "CREATE INDEX origins_by_diff_id ON origins (diff_id) WHERE diff_id IS NOT NULL",
    """
    INSERT INTO origins (digest, repository, size, media_type, seen_at)
    SELECT manifest_references.digest, links.repository, manifest_references.size, manifest_references.media_type, 0
    FROM manifest_references JOIN links ON links.digest = manifest_references.manifest WHERE true
    ON CONFLICT (digest, repository) DO NOTHING
    """,
    """
    CREATE TABLE borrowed_links (
        repository TEXT NOT NULL,
        digest TEXT NOT NULL,
        origin TEXT NOT NULL,
        size INTEGER NOT NULL,
        linked_at REAL NOT NULL,
        PRIMARY KEY (repository, digest)
    ) WITHOUT ROWID
    """,
    "CREATE INDEX borrowed_links_by_digest ON borrowed_links (digest, repository)",
    """
    CREATE VIEW unneeded_borrowed_links AS SELECT repository, digest, linked_at FROM borrowed_links WHERE NOT EXISTS (
        SELECT 1 FROM manifest_references JOIN local_manifests
        ON local_manifests.digest = manifest_references.manifest
        AND local_manifests.repository = borrowed_links.repository
        WHERE manifest_references.digest = borrowed_links.digest
    )
    """,
    """
    CREATE TRIGGER borrowed_link_removed AFTER DELETE ON borrowed_links BEGIN
        UPDATE revocations SET count = count + 1;
    END
    """,
    "CREATE TABLE bases (reference TEXT NOT NULL PRIMARY KEY, added_at REAL NOT NULL) WITHOUT ROWID",
)

# What came over the line and no push was told of (store/transfers), when an origin was last asked whether it still has
# what is borrowed (store/audits), and to what the tags of bases pointed when these were learnt.
_LENT = (
    "ALTER TABLE local_links ADD COLUMN sent_bytes INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE borrowed_links ADD COLUMN audited_at REAL NOT NULL DEFAULT 0",
    "ALTER TABLE borrowed_links ADD COLUMN silent_since REAL",
    """
    CREATE TABLE learnt_bases (
        reference TEXT NOT NULL PRIMARY KEY,
        digest TEXT NOT NULL,
        learnt_at REAL NOT NULL
    ) WITHOUT ROWID
    """,
)

# When each entry of the ledger was last noted, and so when it goes, see store/expiry; 0: not looked at yet. And of
# which repository each base is, since a purge of that forgets it; what was learnt before may have been purged since,
# and is learnt again.
_AGES_OF_ORIGINS = (
    "ALTER TABLE origins ADD COLUMN noted_at REAL NOT NULL DEFAULT 0",
    "CREATE INDEX origins_by_age ON origins (noted_at)",
    "DELETE FROM learnt_bases",
    "ALTER TABLE learnt_bases ADD COLUMN repository TEXT NOT NULL DEFAULT ''",
    "CREATE INDEX learnt_bases_by_repository ON learnt_bases (repository)",
)

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    _FIRST_TABLES,
    _AGES_OF_DOCUMENTS,
    _BOUNDS,
    _OWNED,
    _SCARCE,
    _REVOCATIONS,
    _BORROWED,
    _LENT,
    _AGES_OF_ORIGINS,
)
