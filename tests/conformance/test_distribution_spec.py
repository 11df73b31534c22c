"""The OCI distribution-spec conformance suite, read-only, against the cache in front of an image that lives upstream.

The digest headers, optional by the specification, are required. No case may fail; those of the other workflows
(push, delete) do not run. Of manifests that were there before, the suite never looks at the header that it demands
(`ManifestHeadExists` in its api.go keeps the response only of content that it pushed), so that is checked here.
"""

import os
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.builders import Image
from tests.clients.tools import find_current_tool
from tests.clients.upstream_content import GHCR

pytestmark = pytest.mark.clients

READ_ONLY = {
    "OCI_API_PUSH": "false",
    "OCI_API_BLOBS_DELETE": "false",
    "OCI_API_MANIFESTS_DELETE": "false",
    "OCI_API_TAGS_DELETE": "false",
    "OCI_API_BLOBS_DIGEST_HEADER": "true",
    "OCI_API_MANIFESTS_DIGEST_HEADER": "false",
}
NO_FAILURE = ("Pass", "Skip", "Disabled")


def name_content(image: Image, tag: str) -> dict[str, str]:
    """Return the settings that name the content which the suite shall find."""
    digests = {
        "OCI_RO_DATA_MANIFESTS": [each.digest for each in image.manifests()],
        "OCI_RO_DATA_BLOBS": sorted({each.digest for each in image.blobs()}),
        "OCI_RO_DATA_REFERRERS": [image.digest],
    }
    return {"OCI_RO_DATA_TAGS": tag, **{name: " ".join(values) for name, values in digests.items()}}


@pytest.mark.parametrize("method", ["HEAD", "GET"])
@pytest.mark.parametrize("tag", ["multi", "plain"])
def test_manifests_come_with_their_digest(content, cache, method: str, tag: str) -> None:
    image = content.images[GHCR, tag]

    for reference, digest in [(tag, image.digest), *((each.digest, each.digest) for each in image.manifests())]:
        url = f"{cache.url}/v2/ghcr.io/{GHCR}/manifests/{reference}"
        with urllib.request.urlopen(urllib.request.Request(url, method=method)) as response:
            assert response.headers["Docker-Content-Digest"] == digest


@pytest.mark.parametrize("tag", ["multi", "plain"])
def test_every_case_of_the_pull_workflow_passes(content, cache, tmp_path: Path, tag: str) -> None:
    settings = {
        "OCI_REGISTRY": cache.address,
        "OCI_TLS": "disabled",
        "OCI_REPO1": f"ghcr.io/{GHCR}",
        "OCI_RESULTS_DIR": str(tmp_path),
        **READ_ONLY,
        **name_content(content.images[GHCR, tag], tag),
    }

    outcomes = run_suite(settings, tmp_path)

    assert [case for case in outcomes if case[1] not in NO_FAILURE] == []
    assert sum(outcome == "Pass" for _, outcome in outcomes) >= 15


def run_suite(settings: dict[str, str], directory: Path) -> list[tuple[str, str]]:
    """Return each case and its outcome.

    They are read from what the suite prints, since it crashes afterwards: its writer of the YAML report does not
    expect that pushing is off.
    """
    done = subprocess.run(
        [find_current_tool("conformance")],
        cwd=directory,
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    sys.stdout.write(done.stdout + done.stderr)  # pytest shows it if the test fails
    cases = done.stdout.partition("\nConfiguration:\n")[0]
    return re.findall(r"^ *(OCI Conformance Test.*): (\S+)$", cases, re.MULTILINE)
