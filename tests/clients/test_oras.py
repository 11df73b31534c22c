"""oras: the whole graph of an index, with what refers to it."""

import json

from tests.builders import OCI_INDEX, json_content, referrer
from tests.clients.checks import check_layout
from tests.clients.debian_image import gather_contents
from tests.clients.pushing import push_image, push_manifest
from tests.clients.tools import find_current_tool, run
from tests.clients.upstream_content import GHCR


def test_oras_copies_the_whole_graph(content, cache, rounds) -> None:
    oras, expected = find_current_tool("oras"), gather_contents(content.images[GHCR, "multi"])

    for directory in rounds:
        source = f"{cache.address}/ghcr.io/{GHCR}:multi"
        run([oras, "copy", "--from-plain-http", source, "--to-oci-layout", f"{directory / 'layout'}:1"])
        check_layout(directory / "layout", expected)


def test_oras_discovers_what_refers_to_an_image(content, upstreams, cache, rounds) -> None:
    oras, subject = find_current_tool("oras"), content.images[GHCR, "multi"]
    found, upstream = referrer(subject), upstreams["ghcr.io"].url
    push_image(upstream, GHCR, found, "sbom")
    # docker-registry has no referrers API: there it is a tag, as the specification says.
    listed = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [found.manifest.descriptor(artifactType="")]}
    tag = subject.digest.replace(":", "-")
    push_manifest(upstream, GHCR, json_content(listed, OCI_INDEX), tag)

    for _ in rounds:
        reference = f"{cache.address}/ghcr.io/{GHCR}@{subject.digest}"
        run([oras, "manifest", "fetch", "--plain-http", reference])
        discovered = json.loads(run([oras, "discover", "--plain-http", "--format", "json", reference]))
        assert [each["digest"] for each in discovered["referrers"]] == [found.digest]
