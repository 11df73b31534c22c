"""All tables of one database, to be handed around together."""

from dataclasses import dataclass
from typing import Self

from proxycache.store.audits import Audits
from proxycache.store.bases import Bases
from proxycache.store.database import Database
from proxycache.store.documents import Documents
from proxycache.store.expiry import Expiry
from proxycache.store.garbage import Garbage
from proxycache.store.links import Links
from proxycache.store.loans import Loans
from proxycache.store.local_content import LocalContent
from proxycache.store.manifests import Manifests
from proxycache.store.negatives import Negatives
from proxycache.store.origins import Origins
from proxycache.store.pins import Pins
from proxycache.store.purge import Purge
from proxycache.store.repositories import Repositories
from proxycache.store.tags import Tags
from proxycache.store.transfers import Transfers
from proxycache.store.usage import Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Tables:
    """The rows there are."""

    audits: Audits
    bases: Bases
    documents: Documents
    expiry: Expiry
    garbage: Garbage
    links: Links
    loans: Loans
    local_content: LocalContent
    manifests: Manifests
    negatives: Negatives
    origins: Origins
    pins: Pins
    purge: Purge
    repositories: Repositories
    tags: Tags
    transfers: Transfers
    usage: Usage

    @classmethod
    def of(cls, database: Database) -> Self:
        """Return the tables of an open database."""
        return cls(
            audits=Audits(database),
            bases=Bases(database),
            documents=Documents(database),
            expiry=Expiry(database),
            garbage=Garbage(database),
            links=Links(database),
            loans=Loans(database),
            local_content=LocalContent(database),
            manifests=Manifests(database),
            negatives=Negatives(database),
            origins=Origins(database),
            pins=Pins(database),
            purge=Purge(database),
            repositories=Repositories(database),
            tags=Tags(database),
            transfers=Transfers(database),
            usage=Usage(database),
        )
