"""All tables of one database, to be handed around together."""

from dataclasses import dataclass
from typing import Self

from proxycache.store.database import Database
from proxycache.store.documents import Documents
from proxycache.store.garbage import Garbage
from proxycache.store.links import Links
from proxycache.store.local_content import LocalContent
from proxycache.store.manifests import Manifests
from proxycache.store.negatives import Negatives
from proxycache.store.pins import Pins
from proxycache.store.purge import Purge
from proxycache.store.repositories import Repositories
from proxycache.store.tags import Tags
from proxycache.store.usage import Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Tables:
    """The rows there are."""

    documents: Documents
    garbage: Garbage
    links: Links
    local_content: LocalContent
    manifests: Manifests
    negatives: Negatives
    pins: Pins
    purge: Purge
    repositories: Repositories
    tags: Tags
    usage: Usage

    @classmethod
    def of(cls, database: Database) -> Self:
        """Return the tables of an open database."""
        return cls(
            documents=Documents(database),
            garbage=Garbage(database),
            links=Links(database),
            local_content=LocalContent(database),
            manifests=Manifests(database),
            negatives=Negatives(database),
            pins=Pins(database),
            purge=Purge(database),
            repositories=Repositories(database),
            tags=Tags(database),
            usage=Usage(database),
        )
