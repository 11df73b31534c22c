"""What this process counts, and the text that Prometheus reads, over all workers.

Labels are bounded: upstreams, kinds, outcomes; never a repository or a digest. What comes by the thousand in a
second (requests, pieces of bodies) is counted in integers first and handed over every half second.
"""

import asyncio
import os
from collections import Counter as Tallies
from typing import assert_never

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from proxycache.events import (
    BlobPushed,
    BlobsEvicted,
    BytesFetched,
    Event,
    FillEnded,
    FollowerJoined,
    ImagePushed,
    OriginsAudited,
    RateLimitSeen,
    TokenRequested,
    UpstreamAnswered,
)
from proxycache.observe.batch import Batch
from proxycache.observe.metrics_directory import VARIABLE
from proxycache.observe.request_meter import RequestClass, RequestMeter, Tally

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
FLUSH_SECONDS = 0.5
LATENCY_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """The counters of one worker. Subscribe `count_event` to `Events`; `requests` counts what clients ask."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._families = _Families(self._registry)
        self._fetched_bytes: Tallies[str] = Tallies()
        self._batch = Batch(FLUSH_SECONDS, self._flush)
        self.requests = RequestMeter(self._batch.touch)

    def count_event(self, event: Event) -> None:
        """Count what happened."""
        families = self._families
        match event:
            case BytesFetched():
                self._fetched_bytes[event.upstream] += event.size
                self._batch.touch()
            case BlobPushed() | BlobsEvicted() | ImagePushed() | OriginsAudited():
                families.count_content(event)
            case FillEnded():
                families.fills.labels(event.upstream, event.outcome).inc()
            case FollowerJoined():
                families.followers.labels(event.upstream).inc()
            case UpstreamAnswered():
                status = _status_class(event.status) if event.status else "none"
                families.upstream_seconds.labels(event.upstream, event.kind, status).observe(event.seconds)
            case TokenRequested():
                families.token_requests.labels(event.upstream, event.outcome).inc()
            case RateLimitSeen():
                families.ratelimit_remaining.labels(event.upstream).set(event.remaining)
            case _:
                assert_never(event)

    async def render(self) -> bytes:
        """Return what all workers have counted, the others' part up to half a second ago."""
        self._batch.run()
        return await asyncio.to_thread(self._render)

    def close(self) -> None:
        """Hand over what was counted last."""
        self._batch.run()

    def _render(self) -> bytes:
        registry = self._registry
        if VARIABLE in os.environ:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call] # untyped there
        return generate_latest(registry)

    def _flush(self) -> None:
        for request, tally in self.requests.take().items():
            self._hand_over(request, tally)
        for upstream, size in self._fetched_bytes.items():
            self._families.fetched_bytes.labels(upstream).inc(size)
        self._fetched_bytes.clear()
        self._families.in_flight.set(self.requests.in_flight)

    def _hand_over(self, request: RequestClass, tally: Tally) -> None:
        families = self._families
        families.requests.labels(request.kind, request.method, _status_class(request.status)).inc(tally.requests)
        families.sent_bytes.labels(request.kind).inc(tally.sent_bytes)
        if request.cache:
            (families.hits if request.is_hit else families.misses).labels(request.kind).inc(tally.requests)


class _Families:
    """Every metric there is, with its name, its meaning and its labels."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, meaning: str, *labels: str) -> Counter:
            return Counter(f"proxycache_{name}_total", meaning, labels, registry=registry)

        self.requests = counter("requests", "Requests that were answered.", "kind", "method", "status")
        self.hits = counter("hits", "Requests answered from what was held, stale included.", "kind")
        self.misses = counter("misses", "Requests that an upstream had to answer.", "kind")
        self.sent_bytes = counter("sent_bytes", "Body bytes sent to clients.", "kind")
        self.fetched_bytes = counter("fetched_bytes", "Body bytes received from upstreams.", "upstream")
        self.followers = counter("followers", "Readers that joined a running fill.", "upstream")
        self.fills = counter("fills", "Fills that ended.", "upstream", "outcome")
        self.evicted_blobs = counter("evicted_blobs", "Blobs that made room.")
        self.evicted_bytes = counter("evicted_bytes", "Bytes of the blobs that made room.")
        self.pushed_blobs = counter("pushed_blobs", "Blobs that clients pushed.")
        self.pushed_bytes = counter("pushed_bytes", "Bytes of the blobs that clients pushed.")
        self.image_sent_bytes = counter("image_sent_bytes", "Bytes that clients sent of the images that they pushed.")
        self.image_borrowed_bytes = counter("image_borrowed_bytes", "Bytes that pushed images borrow, and nobody sent.")
        self.token_requests = counter("token_requests", "Tokens asked for.", "upstream", "outcome")
        self.upstream_seconds = Histogram(
            "proxycache_upstream_answer_seconds",
            "Time until an upstream's headers came, or none did.",
            ("upstream", "kind", "status"),
            buckets=LATENCY_BUCKETS,
            registry=registry,
        )
        self.ratelimit_remaining = Gauge(
            "proxycache_ratelimit_remaining_pulls",
            "Pulls that remain, as the upstream last said.",
            ("upstream",),
            multiprocess_mode="mostrecent",
            registry=registry,
        )
        self.images_at_risk = Gauge(
            "proxycache_images_at_risk",
            "Images that depend on an origin that is gone, or has been silent for a day.",
            multiprocess_mode="mostrecent",
            registry=registry,
        )
        self.in_flight = Gauge(
            "proxycache_in_flight_requests",
            "Requests that are being answered.",
            multiprocess_mode="livesum",
            registry=registry,
        )

    def count_content(self, event: BlobPushed | BlobsEvicted | ImagePushed | OriginsAudited) -> None:
        """Count what came from clients, what went, and what is in danger."""
        match event:
            case BlobPushed():
                self.pushed_blobs.inc()
                self.pushed_bytes.inc(event.size)
            case BlobsEvicted():
                self.evicted_blobs.inc(event.count)
                self.evicted_bytes.inc(event.size)
            case ImagePushed():
                self.image_sent_bytes.inc(event.sent_bytes)
                self.image_borrowed_bytes.inc(event.borrowed_bytes)
            case OriginsAudited():
                self.images_at_risk.set(event.images_at_risk)


def _status_class(status: int) -> str:
    return f"{status // 100}xx"
