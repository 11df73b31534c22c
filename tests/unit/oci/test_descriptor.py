import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxycache.oci.descriptor import Descriptor, DescriptorDocument, Platform
from proxycache.oci.errors import DigestInvalid
from tests.unit.oci.strategies import digests


@given(digests, st.integers(0, 2**63 - 1))
def test_what_the_json_says_is_what_the_descriptor_holds(digest, size):
    text = f'{{"mediaType": "application/x", "digest": "{digest}", "size": {size}}}'

    descriptor = msgspec.json.decode(text, type=DescriptorDocument).check()

    assert descriptor == Descriptor(media_type="application/x", digest=digest, size=size)


def test_every_optional_field_is_kept():
    document = DescriptorDocument(
        media_type="application/x",
        digest="sha256:" + "a" * 64,
        size=1,
        urls=("https://a.test/layer",),
        annotations={"a": "b"},
        artifact_type="application/sbom",
        platform=Platform(os="linux", architecture="arm", variant="v7"),
    )

    descriptor = document.check()

    assert (descriptor.urls, descriptor.annotations) == (("https://a.test/layer",), {"a": "b"})
    assert (descriptor.artifact_type, descriptor.platform) == ("application/sbom", document.platform)


def test_a_wrong_digest_is_refused():
    with pytest.raises(DigestInvalid):
        DescriptorDocument(media_type="application/x", digest="sha256:..", size=1).check()
