"""The jobs that run behind requests and by command: built anew, as services are, when settings change."""

from dataclasses import dataclass

from proxycache.app.parts import Parts
from proxycache.config.model import Settings
from proxycache.maintenance.adopt_borrowed import BorrowedAdoption
from proxycache.maintenance.audit_origins import OriginAuditor
from proxycache.maintenance.refresh_bases import BaseRefresher
from proxycache.registry.adopt import Adopter
from proxycache.registry.fetch_whole import WholeFetcher
from proxycache.registry.learn_base import BaseLearner, LearningServices
from proxycache.registry.lend import Lender
from proxycache.web.exchange import Services


@dataclass(frozen=True, slots=True, kw_only=True)
class Jobs:
    """What looks after bases and after what is borrowed, on the `services` of the same settings."""

    adopter: Adopter
    adoption: BorrowedAdoption
    auditor: OriginAuditor
    learner: BaseLearner
    lender: Lender
    refresher: BaseRefresher
    services: Services


def build_jobs(settings: Settings, parts: Parts, services: Services) -> Jobs:
    """Return the jobs as `settings` want them."""
    tables, blobs, clock = parts.tables, parts.fill_services.blobs, parts.clock
    fetcher = WholeFetcher(services.blobs, blobs, parts.fill_services.recorder)
    adopter = Adopter(tables.loans, blobs, fetcher, services.borrower, clock)
    learning = LearningServices(
        access=services.access,
        manifests=services.manifests,
        fetcher=fetcher,
        layers=parts.layers,
        bases=tables.bases,
        origins=tables.origins,
        clock=clock,
    )
    learner = BaseLearner(learning)
    return Jobs(
        adopter=adopter,
        adoption=BorrowedAdoption(adopter, tables.loans, adopts_all=settings.local.borrow == "adopt"),
        auditor=OriginAuditor(tables, services.borrower, adopter, parts.events, clock),
        learner=learner,
        lender=Lender(tables.loans, blobs, services.borrower, clock),
        refresher=BaseRefresher(
            learner,
            tables.bases,
            configured=settings.local.bases,
            route=lambda name: services.access.route(name, None, ""),
        ),
        services=services,
    )
