"""Which origins of borrowed blobs are to be asked whether they still have them, and which images depend on one in vain.

An origin is gone when the ledger no longer says that it has the blob: whoever asked it and heard "no" has noted that.
It is silent from the first question to which no answer came, until an answer comes to anybody; a silence that an answer
has ended counts no longer, and the next one begins anew.
"""

from dataclasses import dataclass
from typing import Any

from proxycache.oci.digest import parse_digest
from proxycache.store.database import Database
from proxycache.store.origins import BLOB_TYPE, Origin

ASK_AGAIN_SECONDS = 86_400.0
ASK_AGAIN_IN_TROUBLE_SECONDS = 3_600.0
REPORT_AFTER_SECONDS = 86_400.0

_LIST_DUE = """
    SELECT digest, origin, size, seen_at, media_type FROM (
        SELECT loans.digest, loans.origin, loans.size, origins.seen_at, origins.media_type,
            CASE WHEN origins.seen_at >= loans.silent_since THEN NULL ELSE loans.silent_since END AS silent_since,
            CASE WHEN origins.seen_at > loans.audited_at THEN origins.seen_at ELSE loans.audited_at END AS asked_at
        FROM (
            SELECT digest, origin, max(size) AS size, min(silent_since) AS silent_since, max(audited_at) AS audited_at
            FROM borrowed_links GROUP BY digest, origin
        ) AS loans
        LEFT JOIN origins ON origins.digest = loans.digest AND origins.repository = loans.origin
    ) AS asked
    WHERE asked_at <= CASE WHEN silent_since IS NULL AND seen_at IS NOT NULL THEN ? ELSE ? END
    ORDER BY asked_at, digest, origin LIMIT ?
"""
_NOTE_ANSWER = "UPDATE borrowed_links SET audited_at = ?, silent_since = NULL WHERE digest = ? AND origin = ?"
_NOTE_SILENCE = """
    UPDATE borrowed_links SET audited_at = ?, silent_since = CASE
        WHEN silent_since IS NULL OR EXISTS (
            SELECT 1 FROM origins
            WHERE origins.digest = borrowed_links.digest AND origins.repository = borrowed_links.origin
            AND origins.seen_at >= borrowed_links.silent_since
        ) THEN ? ELSE silent_since END
    WHERE digest = ? AND origin = ?
"""
_FIND_SILENCE = "SELECT min(silent_since) FROM borrowed_links WHERE digest = ? AND origin = ?"
# What is in trouble, and then all that names it, up to what has a tag or is named by nothing else there.
_LIST_AT_RISK = """
    WITH RECURSIVE troubled (repository, digest, origin, silent_since) AS (
        SELECT loans.repository, loans.digest, loans.origin,
            CASE WHEN origins.seen_at IS NULL THEN NULL ELSE loans.silent_since END
        FROM borrowed_links AS loans
        LEFT JOIN origins ON origins.digest = loans.digest AND origins.repository = loans.origin
        WHERE origins.seen_at IS NULL OR (loans.silent_since <= ? AND origins.seen_at < loans.silent_since)
    ), named_by (repository, digest, origin, silent_since, manifest) AS (
        SELECT repository, digest, origin, silent_since, digest FROM troubled
        UNION
        SELECT named_by.repository, named_by.digest, named_by.origin, named_by.silent_since, local_manifests.digest
        FROM named_by JOIN manifest_references ON manifest_references.digest = named_by.manifest
        JOIN local_manifests ON local_manifests.digest = manifest_references.manifest
        AND local_manifests.repository = named_by.repository
    )
    SELECT named_by.repository, coalesce(tags.tag, ''), named_by.manifest, named_by.digest, named_by.origin,
        named_by.silent_since
    FROM named_by
    JOIN local_manifests ON local_manifests.repository = named_by.repository
    AND local_manifests.digest = named_by.manifest
    LEFT JOIN tags ON tags.repository = named_by.repository AND tags.digest = named_by.manifest
    WHERE tags.tag IS NOT NULL OR NOT EXISTS (
        SELECT 1 FROM manifest_references JOIN local_manifests AS parents
        ON parents.digest = manifest_references.manifest AND parents.repository = named_by.repository
        WHERE manifest_references.digest = named_by.manifest
    )
    ORDER BY named_by.repository, tags.tag, named_by.manifest, named_by.digest
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class DueLoan:
    """A blob whose origin is to be asked. `is_known`: the ledger says that it has it."""

    origin: Origin
    is_known: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageAtRisk:
    """An image, by tag or (none) digest, that cannot be pulled whole once its cached parts are evicted.

    `origins` are gone, or (`silent_since`, the longest of them) have given no answer.
    """

    repository: str
    reference: str
    blobs: int
    origins: tuple[str, ...]
    silent_since: float | None

    @property
    def name(self) -> str:
        """The image as one writes it."""
        return f"{self.repository}{'@' if ':' in self.reference else ':'}{self.reference}"


class Audits:
    """The columns of `borrowed_links` that say when an origin was asked, and what is to be told of it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list_due(self, *, now: float, most: int) -> list[DueLoan]:
        """Return what has waited longest: a day, or an hour where there is trouble."""
        values = (now - ASK_AGAIN_SECONDS, now - ASK_AGAIN_IN_TROUBLE_SECONDS, most)
        return [_due(row) for row in await self._database.fetch(_LIST_DUE, values)]

    async def note_answer(self, origin: Origin, *, now: float) -> None:
        """Note that the origin has answered, whatever it said."""
        async with self._database.transaction() as connection:
            await connection.execute(_NOTE_ANSWER, (now, str(origin.digest), origin.repository))

    async def note_silence(self, origin: Origin, *, now: float) -> float:
        """Note that it has not, and return when it was asked first of those times that it has not answered."""
        key = str(origin.digest), origin.repository
        async with self._database.transaction() as connection:
            await connection.execute(_NOTE_SILENCE, (now, now, *key))
            ((since,),) = await connection.execute_fetchall(_FIND_SILENCE, key)
        return now if since is None else float(since)

    async def list_at_risk(self, *, now: float) -> list[ImageAtRisk]:
        """Return the images that depend on an origin that is gone, or has been silent for a day."""
        found: dict[tuple[str, str], list[tuple[Any, ...]]] = {}
        for row in await self._database.fetch(_LIST_AT_RISK, (now - REPORT_AFTER_SECONDS,)):
            repository, tag, manifest = row[:3]
            found.setdefault((repository, tag or manifest), []).append(row)
        return [_at_risk(repository, reference, rows) for (repository, reference), rows in found.items()]


def _due(row: tuple[Any, ...]) -> DueLoan:
    digest, repository, size, seen_at, media_type = row
    origin = Origin(
        digest=parse_digest(digest),
        repository=repository,
        size=size,
        media_type=media_type or BLOB_TYPE,
        seen_at=seen_at or 0.0,
    )
    return DueLoan(origin=origin, is_known=seen_at is not None)


def _at_risk(repository: str, reference: str, rows: list[tuple[Any, ...]]) -> ImageAtRisk:
    silences = [row[5] for row in rows if row[5] is not None]
    return ImageAtRisk(
        repository=repository,
        reference=reference,
        blobs=len({row[3] for row in rows}),
        origins=tuple(sorted({row[4] for row in rows})),
        silent_since=min(silences) if silences else None,
    )
