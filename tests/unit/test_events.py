import dataclasses

import pytest

from proxycache.events import BytesFetched, Event, Events, FollowerJoined


def test_every_subscriber_gets_every_event_in_order() -> None:
    events = Events()
    first: list[Event] = []
    second: list[Event] = []
    events.subscribe(first.append)
    events.subscribe(second.append)
    sent = [FollowerJoined(upstream="docker.io"), BytesFetched(upstream="docker.io", size=5)]

    for event in sent:
        events.emit(event)

    assert first == second == sent


def test_who_subscribes_later_gets_what_comes_later() -> None:
    events = Events()
    seen: list[Event] = []
    events.emit(FollowerJoined(upstream="early"))

    events.subscribe(seen.append)
    events.emit(FollowerJoined(upstream="late"))

    assert seen == [FollowerJoined(upstream="late")]


def test_an_event_stays_as_it_was() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        FollowerJoined(upstream="docker.io").upstream = "ghcr.io"  # type: ignore[misc]
