import pytest

from proxycache.events import (
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
from proxycache.observe.metrics import Metrics


async def rendered(metrics: Metrics) -> list[str]:
    return (await metrics.render()).decode().splitlines()


async def test_requests_are_counted_by_kind_method_and_class_of_status():
    metrics = Metrics()
    metrics.requests.begin()
    metrics.requests.begin()
    metrics.requests.count("blob", "GET", 206, 10, "miss")

    lines = await rendered(metrics)

    assert 'proxycache_requests_total{kind="blob",method="GET",status="2xx"} 1.0' in lines
    assert 'proxycache_sent_bytes_total{kind="blob"} 10.0' in lines
    assert "proxycache_in_flight_requests 1.0" in lines


@pytest.mark.parametrize(
    ("cache", "counted"), [("hit", "hits"), ("stale", "hits"), ("miss", "misses"), ("joined", "misses"), ("", None)]
)
async def test_an_answer_is_a_hit_a_miss_or_neither(cache, counted):
    metrics = Metrics()
    metrics.requests.count("tag", "GET", 200, 1, cache)

    lines = await rendered(metrics)

    for name in ("hits", "misses"):
        assert (f'proxycache_{name}_total{{kind="tag"}} 1.0' in lines) is (name == counted)


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (BytesFetched(upstream="u", size=7), 'proxycache_fetched_bytes_total{upstream="u"} 7.0'),
        (FollowerJoined(upstream="u"), 'proxycache_followers_total{upstream="u"} 1.0'),
        (
            FillEnded(
                upstream="u",
                repository="r",
                digest="d",
                outcome="failed",
                fetched_bytes=1,
                inherited_bytes=0,
                seconds=1,
            ),
            'proxycache_fills_total{outcome="failed",upstream="u"} 1.0',
        ),
        (
            UpstreamAnswered(upstream="u", kind="blob", method="GET", status=200, seconds=0.02),
            'proxycache_upstream_answer_seconds_bucket{kind="blob",le="0.025",status="2xx",upstream="u"} 1.0',
        ),
        (
            UpstreamAnswered(upstream="u", kind="tags", method="GET", status=0, seconds=9.0),
            'proxycache_upstream_answer_seconds_count{kind="tags",status="none",upstream="u"} 1.0',
        ),
        (
            TokenRequested(upstream="u", outcome="granted"),
            'proxycache_token_requests_total{outcome="granted",upstream="u"} 1.0',
        ),
        (
            ImagePushed(repository="r", reference="1", digest="d", sent_bytes=5, borrowed_bytes=70, owned_bytes=6),
            "proxycache_image_borrowed_bytes_total 70.0",
        ),
        (OriginsAudited(images_at_risk=3), "proxycache_images_at_risk 3.0"),
        (RateLimitSeen(upstream="u", remaining=9), 'proxycache_ratelimit_remaining_pulls{upstream="u"} 9.0'),
    ],
)
async def test_what_happens_is_counted(event: Event, line: str):
    metrics = Metrics()

    metrics.count_event(event)

    assert line in await rendered(metrics)


async def test_counting_twice_in_one_batch_adds_up():
    metrics = Metrics()
    metrics.count_event(BytesFetched(upstream="u", size=7))
    await metrics.render()
    metrics.count_event(BytesFetched(upstream="u", size=5))

    assert 'proxycache_fetched_bytes_total{upstream="u"} 12.0' in await rendered(metrics)
