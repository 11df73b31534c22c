"""Tag lists are paged through; referrers come complete or not at all."""

import json

import pytest
from aiohttp import web

from proxycache.oci.digest import Digest, parse_digest
from proxycache.upstream.client import UpstreamClient
from proxycache.upstream.errors import UpstreamMisbehaved, UpstreamUnreachable
from tests.builders import OCI_INDEX, Image, image, referrer
from tests.fakes.faults import answer
from tests.fakes.upstream_registry import FakeRegistry
from tests.unit.upstream.conftest import MakeClient
from tests.unit.upstream.servers import serving


@pytest.fixture
def subject(registry: FakeRegistry) -> Image:
    return registry.add_image("library/app", image(), tag="1")


@pytest.mark.parametrize("link_form", ["relative", "absolute", "other-host", "query"])
async def test_pages_of_tags(registry: FakeRegistry, client: UpstreamClient, link_form: str) -> None:
    registry.repository("library/app").tags.update(dict.fromkeys(["a", "b", "c"], "sha256:x"))
    registry.link_form = link_form

    first = await client.list_tags("library/app", n=2, last=None)
    second = await client.list_tags("library/app", n=first.next_n, last=first.next_last)

    assert (first.tags, first.next_n, first.next_last) == (["a", "b"], 2, "b")
    assert (second.tags, second.next_n, second.next_last) == (["c"], None, None)


@pytest.mark.parametrize("n", [1, 2, 5, None])
async def test_pages_of_an_upstream_that_sends_all_tags_at_once(
    registry: FakeRegistry, client: UpstreamClient, n: int | None
) -> None:
    registry.repository("library/app").tags.update(dict.fromkeys(["c", "a", "b", "d"], "sha256:x"))
    registry.pages_tags = False

    seen: list[str] = []
    page = await client.list_tags("library/app", n=n, last=None)
    seen += page.tags
    while page.next_last is not None:
        assert len(page.tags) == n
        page = await client.list_tags("library/app", n=n, last=page.next_last)
        seen += page.tags

    assert sorted(seen) == ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    ("body", "tags"), [('{"tags": null}', []), ('{"name": "x", "tags": ["1"], "manifest": {"sha256:x": {}}}', ["1"])]
)
async def test_lists_of_other_makers(
    registry: FakeRegistry, client: UpstreamClient, body: str, tags: list[str]
) -> None:
    registry.faults.add(answer(200, body.encode()))

    assert (await client.list_tags("library/app", n=None, last=None)).tags == tags


async def test_a_next_page_that_is_named_otherwise(registry: FakeRegistry, client: UpstreamClient) -> None:
    registry.faults.add(answer(200, b'{"tags": ["1", "2"]}', Link='</v2/x/tags/list?page=2&n=many>; rel="next"'))

    page = await client.list_tags("library/app", n=None, last=None)

    assert (page.next_last, page.next_n) == ("2", None)


@pytest.mark.parametrize("body", [b"", b"<html>", b"{}", b'{"tags": "1"}', b'{"tags": [1]}'])
async def test_what_is_no_list(registry: FakeRegistry, client: UpstreamClient, body: bytes) -> None:
    registry.faults.add(answer(200, body))

    with pytest.raises(UpstreamMisbehaved):
        await client.list_tags("library/app", n=None, last=None)


async def test_referrers(registry: FakeRegistry, client: UpstreamClient, subject: Image) -> None:
    held = registry.add_image("library/app", referrer(subject))

    found = await client.get_referrers("library/app", parse_digest(subject.digest))

    assert found is not None
    assert [each["digest"] for each in found.manifests] == [held.digest]


async def test_pages_of_referrers(make_client: MakeClient, subject: Image) -> None:
    async def serve_pages(request: web.BaseRequest) -> web.StreamResponse:
        page = request.query.get("token", "1")
        link = {"Link": f'<{request.path}?token=2>; rel="next"'} if page == "1" else {}
        body = json.dumps({"manifests": [{"digest": page}]}).encode()
        return web.Response(body=body, headers={"Content-Type": OCI_INDEX, **link})

    async with serving(serve_pages) as url:
        found = await make_client(url=url).get_referrers("library/app", parse_digest(subject.digest))

    assert found is not None
    assert [each["digest"] for each in found.manifests] == ["1", "2"]


async def test_pages_without_end(registry: FakeRegistry, client: UpstreamClient, subject: Image) -> None:
    endless = answer(200, b'{"manifests": []}', Link='<?token=1>; rel="next"', Content_Type=OCI_INDEX)
    registry.faults.add(endless, times=None)

    with pytest.raises(UpstreamMisbehaved, match="pages"):
        await client.get_referrers("library/app", parse_digest(subject.digest))


@pytest.mark.parametrize("kind", ["off", "redirect"])
async def test_an_upstream_without_referrers(
    registry: FakeRegistry, client: UpstreamClient, subject: Image, kind: str
) -> None:
    registry.referrers = kind

    assert await client.get_referrers("library/app", parse_digest(subject.digest)) is None
    assert registry.cdn.count() == 0


@pytest.mark.parametrize("fault", [answer(405), answer(400), answer(200, b"<html>", Content_Type="text/html")])
async def test_answers_that_know_no_referrers(
    registry: FakeRegistry, client: UpstreamClient, subject: Image, fault
) -> None:
    registry.faults.add(fault)

    assert await client.get_referrers("library/app", parse_digest(subject.digest)) is None


async def test_referrers_that_could_not_be_told(registry: FakeRegistry, client: UpstreamClient, subject: Image) -> None:
    registry.faults.add(answer(503))

    with pytest.raises(UpstreamUnreachable):
        await client.get_referrers("library/app", Digest(*subject.digest.split(":")))
