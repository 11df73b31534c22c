import json

import pytest

from proxycache.oci.digest import digest_of
from proxycache.oci.image_config import parse_diff_ids

ONE, TWO = digest_of(b"one"), digest_of(b"two")


def test_diff_ids_come_in_their_order() -> None:
    body = json.dumps({"os": "linux", "rootfs": {"type": "layers", "diff_ids": [str(TWO), str(ONE)]}}).encode()

    assert parse_diff_ids(body) == (TWO, ONE)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff",
        b"[]",
        b"{}",
        b'{"rootfs": null}',
        b'{"rootfs": {"type": "layers"}}',
        b'{"rootfs": {"diff_ids": null}}',
        b'{"rootfs": {"diff_ids": ["sha256:../../etc/passwd"]}}',
        b'{"rootfs": {"diff_ids": [1]}}',
        b'{"rootfs":' * 5000,
    ],
)
def test_what_is_no_config_says_nothing(body: bytes) -> None:
    assert parse_diff_ids(body) == ()
