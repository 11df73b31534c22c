import pytest

from proxycache.oci import media_types
from proxycache.oci.media_types import MANIFEST_ACCEPT, MANIFEST_TYPES, is_generic, is_index, is_schema1

SCHEMA1_TYPES = [media_types.DOCKER_SCHEMA1, media_types.DOCKER_SCHEMA1_SIGNED]


@pytest.mark.parametrize(
    ("media_type", "expected"),
    [
        (media_types.OCI_INDEX, True),
        (media_types.DOCKER_LIST, True),
        (media_types.OCI_MANIFEST, False),
        (media_types.DOCKER_MANIFEST, False),
        (media_types.OCI_CONFIG, False),
        ("", False),
    ],
)
def test_indexes_are_those_of_both_families(media_type, expected):
    assert is_index(media_type) is expected


def test_an_upstream_is_asked_for_both_families_and_never_for_schema_1():
    assert MANIFEST_ACCEPT.split(", ") == list(MANIFEST_TYPES)
    assert not any(is_schema1(media_type) for media_type in MANIFEST_TYPES)


@pytest.mark.parametrize("media_type", [*MANIFEST_TYPES, *SCHEMA1_TYPES])
def test_a_type_of_manifests_is_not_generic(media_type):
    assert not is_generic(media_type)


@pytest.mark.parametrize("media_type", ["", "application/json", "application/octet-stream", "text/plain"])
def test_a_type_that_bytes_of_any_kind_may_have_is_generic(media_type):
    assert is_generic(media_type)


@pytest.mark.parametrize("media_type", SCHEMA1_TYPES)
def test_schema_1_is_recognised_signed_or_not(media_type):
    assert is_schema1(media_type)
