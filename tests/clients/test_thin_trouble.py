"""The base is gone, or its registry down, in the middle of a push that borrows it, or before the pull.

Either the image is there, all of it, or the client is told so and the log too; a refused push moves no tag.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from urllib.error import HTTPError

import pytest

from tests.clients.docker_api import DockerRefused
from tests.clients.dockerd import Dockerd, classic_dockerd, current_dockerd
from tests.clients.lending import APP, Place
from tests.clients.public_base import BASE_BYTES, MOST_BYTES, REPOSITORY, PublicBase, docker_context
from tests.clients.pulling import pull_image
from tests.clients.thin_pushers import MIRRORED, by_crane_append, crane_append
from tests.clients.tools import find_current_tool, run, run_refused

HOUR = 3_600.0
DAY = 24 * HOUR
PUT_MANIFEST = f"PUT /v2/{APP}/manifests/".encode()
REPORT = "borrowed blob cannot be had"

Start = Callable[..., AbstractContextManager[Dockerd]]


def vanish(place: Place, *, seen: float = 0.0) -> Callable[[], None]:
    """Return what deletes the base upstream, `seen` seconds after that was last known to have it."""

    def strike() -> None:
        place.remove_origin()
        place.age(seen)

    return strike


def check_complete(place: Place, base: PublicBase) -> None:
    contents = pull_image(place.cache.url, APP, "latest").contents
    assert set(base.layers) <= contents.keys()


def check_reported(place: Place) -> None:
    """What is missing is told to who pulls, and to who runs the cache."""
    assert not place.log_lines(REPORT)
    with pytest.raises(HTTPError, match=r"404|502|504") as refused:
        pull_image(place.cache.url, APP, "latest")
    refused.value.close()
    reports = place.log_lines(REPORT)
    assert reports
    assert all(f"repository={APP}" in line and f"docker.io/{REPOSITORY}" in line for line in reports)


@pytest.mark.parametrize("start", [classic_dockerd, current_dockerd], ids=["classic", "current"])
def test_docker_sends_the_base_once_its_origin_has_lost_it_during_a_push(
    public_base: PublicBase, place: Place, workplace: Path, start: Start
) -> None:
    with start(workplace, "--registry-mirror", place.url) as docker:
        docker.build(docker_context(MIRRORED), place.app, with_buildkit=False)
        place.purge_base_tag()
        assert not any(map(place.holds, public_base.layers))
        place.relay.strike_before(PUT_MANIFEST, vanish(place, seen=2 * HOUR))
        with pytest.raises(DockerRefused, match=r"blob unknown|unknown content"):
            docker.push(place.app, "latest")
        assert place.relay.has_struck
        assert "MANIFEST_UNKNOWN" in run_refused([find_current_tool("crane"), "manifest", "--insecure", place.app])

        docker.push(place.app, "latest")

    assert place.owned_bytes > BASE_BYTES
    assert len(pull_image(place.cache.url, APP, "latest").document["layers"]) == 3


def test_what_is_still_held_is_adopted_when_its_origin_loses_it_during_a_push(
    public_base: PublicBase, place: Place, workplace: Path
) -> None:
    place.fill_base()
    place.relay.strike_before(PUT_MANIFEST, vanish(place, seen=2 * HOUR))

    by_crane_append(place, public_base, workplace)

    assert place.relay.has_struck
    assert place.pushed_bytes < MOST_BYTES
    assert place.owned_bytes > BASE_BYTES
    check_complete(place, public_base)


def test_a_base_that_vanishes_within_the_hour_is_missed_and_reported(
    public_base: PublicBase, place: Place, workplace: Path
) -> None:
    place.relay.strike_before(PUT_MANIFEST, vanish(place))

    by_crane_append(place, public_base, workplace)

    assert place.relay.has_struck
    check_reported(place)


def test_a_base_that_vanishes_before_the_pull_is_reported(
    public_base: PublicBase, place: Place, workplace: Path
) -> None:
    by_crane_append(place, public_base, workplace)
    place.remove_origin()

    check_reported(place)


def test_a_base_that_vanishes_before_the_pull_is_not_missed_while_it_is_held(
    public_base: PublicBase, place: Place, workplace: Path
) -> None:
    place.fill_base()
    by_crane_append(place, public_base, workplace)
    place.remove_origin()

    check_complete(place, public_base)
    assert not place.log_lines(REPORT)


def test_a_push_relies_for_a_day_on_what_an_origin_had_that_is_down(
    public_base: PublicBase, place: Place, workplace: Path
) -> None:
    run([find_current_tool("crane"), "config", "--insecure", place.base])
    place.origin.stop()
    place.age(DAY / 2)

    by_crane_append(place, public_base, workplace)

    assert place.owned_bytes < MOST_BYTES
    check_reported(place)
    with place.start_origin():
        check_complete(place, public_base)


def test_after_a_day_the_pusher_is_asked_to_come_again(public_base: PublicBase, place: Place, workplace: Path) -> None:
    run([find_current_tool("crane"), "config", "--insecure", place.base])
    place.origin.stop()
    place.age(2 * DAY)

    refused = run_refused(crane_append(place, workplace))

    assert f"docker.io/{REPOSITORY}" in refused
    assert "MANIFEST_UNKNOWN" in run_refused([find_current_tool("crane"), "manifest", "--insecure", place.app])
    with place.start_origin():
        run(crane_append(place, workplace))
        assert place.pushed_bytes < MOST_BYTES
        check_complete(place, public_base)


def test_after_a_day_what_is_held_is_adopted(public_base: PublicBase, place: Place, workplace: Path) -> None:
    place.fill_base()
    place.origin.stop()
    place.age(2 * DAY)

    by_crane_append(place, public_base, workplace)

    assert place.owned_bytes > BASE_BYTES
    check_complete(place, public_base)
