"""What every registry answers to a puller: the fake one, the real one and ours agree."""

import re

import pytest

from tests.builders import blob
from tests.contract.conftest import NAME, TAGS

MISSING = blob(77, seed="missing").digest
ACCEPT = {"Accept": "application/vnd.oci.image.manifest.v1+json"}


async def test_it_says_that_it_is_a_registry(subject):
    assert (await subject.client.get("/v2/")).status == 200


@pytest.mark.parametrize("by", ["tag", "digest"])
async def test_a_manifest_is_its_exact_bytes(subject, by):
    reference = TAGS[0] if by == "tag" else subject.image.digest

    got = await subject.client.get_manifest(NAME, reference, ACCEPT)

    assert (got.status, got.body) == (200, subject.image.body)
    assert got.headers["Content-Type"] == subject.image.media_type
    assert got.headers["Docker-Content-Digest"] == subject.image.digest
    assert got.headers["Content-Length"] == str(len(subject.image.body))


@pytest.mark.parametrize("by", ["tag", "digest"])
async def test_a_head_of_a_manifest_has_the_headers_of_the_get(subject, by):
    reference = TAGS[0] if by == "tag" else subject.image.digest
    path = f"/v2/{NAME}/manifests/{reference}"

    head, got = await subject.client.head(path, ACCEPT), await subject.client.get(path, ACCEPT)

    assert (head.status, head.body) == (200, b"")
    for name in ("Content-Type", "Content-Length", "Docker-Content-Digest"):
        assert head.headers[name] == got.headers[name]


async def test_a_blob_is_its_exact_bytes(subject):
    got = await subject.client.get_blob(NAME, subject.layer.digest)

    assert (got.status, got.body, got.is_complete) == (200, subject.layer.body, True)
    assert got.headers["Docker-Content-Digest"] == subject.layer.digest
    assert got.headers["Content-Length"] == str(subject.layer.size)


async def test_a_head_of_a_blob_tells_its_size(subject):
    got = await subject.client.head(f"/v2/{NAME}/blobs/{subject.layer.digest}")

    assert (got.status, got.body) == (200, b"")
    assert got.headers["Content-Length"] == str(subject.layer.size)


@pytest.mark.parametrize(("wanted", "first", "last"), [("0-9", 0, 9), ("5000-", 5000, 99_999), ("-10", 99_990, 99_999)])
async def test_a_range_of_a_blob_is_exact(subject, wanted, first, last):
    got = await subject.client.get_range(NAME, subject.layer.digest, wanted)

    assert (got.status, got.body) == (206, subject.layer.body[first : last + 1])
    assert got.headers["Content-Range"] == f"bytes {first}-{last}/{subject.layer.size}"


async def test_a_range_outside_of_a_blob_is_416(subject):
    got = await subject.client.get_range(NAME, subject.layer.digest, "100000-")

    assert got.status == 416


@pytest.mark.parametrize(
    ("path", "code"),
    [
        (f"/v2/{NAME}/manifests/missing", "MANIFEST_UNKNOWN"),
        (f"/v2/{NAME}/manifests/{MISSING}", "MANIFEST_UNKNOWN"),
        (f"/v2/{NAME}/blobs/{MISSING}", "BLOB_UNKNOWN"),
        ("/v2/library/nothing/tags/list", "NAME_UNKNOWN"),
    ],
)
async def test_what_is_not_there_is_404_with_the_code_of_the_thing(subject, path, code):
    got = await subject.client.get(path)

    assert (got.status, got.code) == (404, code)


@pytest.mark.parametrize("thing", ["manifests/missing", f"manifests/{MISSING}", f"blobs/{MISSING}"])
async def test_a_head_of_what_is_not_there_is_404_without_a_body(subject, thing):
    head = await subject.client.head(f"/v2/{NAME}/{thing}")

    assert (head.status, head.body) == (404, b"")


async def test_the_links_of_a_tag_list_lead_to_all_tags(subject):
    pages, path = [], f"/v2/{NAME}/tags/list?n=2"
    while path:
        got = await subject.client.get(path)
        pages.append(got.json()["tags"])
        link = re.fullmatch(r'<([^>]+)>; rel="next"', got.headers.get("Link", ""))
        path = link[1].removeprefix(subject.client.url) if link else ""

    assert sorted(tag for page in pages for tag in page) == list(TAGS)
    assert len(pages) == (2 if subject.pages_tags else 1)


async def test_all_tags_are_listed_at_once(subject):
    got = await subject.client.get(f"/v2/{NAME}/tags/list")

    assert (got.json()["name"], sorted(got.json()["tags"])) == (NAME, list(TAGS))


async def test_a_digest_that_is_none_is_refused(subject):
    got = await subject.client.get_blob(NAME, "sha256:abc")

    assert got.status in {400, 404}
