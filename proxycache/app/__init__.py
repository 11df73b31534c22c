"""The composition root of a worker: settings become services; what starts first stops last."""

from proxycache.app.jobs import Jobs, build_jobs
from proxycache.app.parts import Parts, open_parts
from proxycache.app.services import build_collector, build_services
from proxycache.app.worker import run_worker, widen_disk_pool

__all__ = [
    "Jobs",
    "Parts",
    "build_collector",
    "build_jobs",
    "build_services",
    "open_parts",
    "run_worker",
    "widen_disk_pool",
]
