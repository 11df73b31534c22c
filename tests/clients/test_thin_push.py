"""What is built on a public base is pushed without the base, by each client as it is, and owned without it too."""

import gzip
from pathlib import Path

import pytest

from tests.clients.debian_image import read_tree
from tests.clients.dockerd import classic_dockerd, current_dockerd
from tests.clients.lending import APP, Place, lending_place
from tests.clients.public_base import BASE_BYTES, MOST_BYTES, PublicBase
from tests.clients.pulling import pull_image
from tests.clients.thin_pushers import Push, by_buildah, by_crane_append, by_docker, by_podman, by_skopeo_copy

PUSHERS = {
    "classic docker, mirror": by_docker(classic_dockerd, is_mirrored=True),
    "classic docker, by name": by_docker(classic_dockerd, is_mirrored=False),
    "classic docker, BuildKit": by_docker(classic_dockerd, is_mirrored=True, with_buildkit=True),
    "current docker, mirror": by_docker(current_dockerd, is_mirrored=True),
    "current docker, by name": by_docker(current_dockerd, is_mirrored=False),
    "current docker, BuildKit": by_docker(current_dockerd, is_mirrored=True, with_buildkit=True),
    "podman, mirror": by_podman(is_mirrored=True),
    "podman, by name": by_podman(is_mirrored=False),
    "buildah": by_buildah,
    "crane append": by_crane_append,
    "skopeo copy": by_skopeo_copy,
}


@pytest.mark.parametrize("push", PUSHERS.values(), ids=PUSHERS)
def test_only_what_is_private_is_sent_and_owned(
    public_base: PublicBase, place: Place, workplace: Path, push: Push
) -> None:
    push(place, public_base, workplace)

    assert place.relay.sent_bytes < MOST_BYTES
    assert 0 < place.pushed_bytes < MOST_BYTES
    assert 0 < place.owned_bytes < MOST_BYTES
    place.purge_base()
    assert not any(map(place.holds, public_base.layers))
    check_image(place, public_base)


def check_image(place: Place, base: PublicBase) -> None:
    """Read all of it by the plain protocol: the base is the public one, byte for byte."""
    pulled = pull_image(place.cache.url, APP, "latest")
    layers = [layer["digest"] for layer in pulled.document["layers"]]
    assert layers[:-1] == base.layers
    assert read_tree(*(gzip.decompress(pulled.contents[digest]) for digest in layers)) == base.tree


def test_with_borrowing_off_docker_sends_the_base(
    public_base: PublicBase, base_storage: Path, tmp_path: Path, workplace: Path
) -> None:
    with lending_place(base_storage, tmp_path, more='[local]\nborrow = "off"\n') as place:
        PUSHERS["classic docker, mirror"](place, public_base, workplace)

        assert place.pushed_bytes > BASE_BYTES
        pulled = pull_image(place.cache.url, APP, "latest")
        assert not {layer["digest"] for layer in pulled.document["layers"]} & set(public_base.layers)
