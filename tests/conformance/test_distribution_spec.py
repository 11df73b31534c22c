"""The OCI distribution-spec conformance suite: all of it against local repositories, and what only reads upstream's.

Of local repositories everything is required that the specification's main branch makes optional, and no case may fail
or be skipped. In front of an image that lives upstream the cases of the other workflows (push, delete) do not run; and
of manifests that were there before, the suite never looks at the header that it demands (`ManifestHeadExists` in its
api.go keeps the response only of content that it pushed), so that is checked here.
"""

import os
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.builders import Image
from tests.clients.login import PASSWORD, USER
from tests.clients.services import proxycache
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
EVERYTHING = {
    "OCI_VERSION": "dev",
    "OCI_API_BLOBS_DIGEST_HEADER": "true",
    "OCI_API_BLOBS_UPLOAD_CANCEL": "true",
    "OCI_API_MANIFESTS_DIGEST_HEADER": "true",
    "OCI_API_MANIFESTS_TAG_PARAM": "true",
    "OCI_DATA_SHA512": "true",
    "OCI_DATA_SPARSE": "true",
}
SPARSE = "[local]\nsparse = true\n"
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
    named = name_content(content.images[GHCR, tag], tag)

    outcomes = run_suite(cache.address, {"OCI_REPO1": f"ghcr.io/{GHCR}", **READ_ONLY, **named}, tmp_path)

    assert [case for case in outcomes if case[1] not in NO_FAILURE] == []
    assert sum(outcome == "Pass" for _, outcome in outcomes) >= 15


@pytest.mark.parametrize("has_login", [False, True], ids=["open", "with a login"])
def test_every_case_of_all_workflows_passes(auth, tmp_path: Path, has_login: bool) -> None:
    settings = {"OCI_REPO1": "local/repo1", "OCI_REPO2": "local/repo2", **EVERYTHING}
    if has_login:
        settings |= {"OCI_USERNAME": USER, "OCI_PASSWORD": PASSWORD}

    with proxycache(tmp_path, {}, more=SPARSE + (auth if has_login else "")) as registry:
        outcomes = run_suite(registry.address, settings, tmp_path)

    assert [case for case in outcomes if case[1] != "Pass"] == []
    assert len(outcomes) >= 950


def run_suite(address: str, settings: dict[str, str], directory: Path) -> list[tuple[str, str]]:
    """Return each case and its outcome.

    They are read from what the suite prints, since it crashes afterwards where pushing is off: its writer of the YAML
    report does not expect that.
    """
    registry = {"OCI_REGISTRY": address, "OCI_TLS": "disabled", "OCI_RESULTS_DIR": str(directory)}
    done = subprocess.run(
        [find_current_tool("conformance")],
        cwd=directory,
        env={**os.environ, **registry, **settings},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    sys.stdout.write(done.stdout + done.stderr)  # pytest shows it if the test fails
    cases = done.stdout.partition("\nConfiguration:\n")[0]
    return re.findall(r"^ *(OCI Conformance Test.*): (\S+)$", cases, re.MULTILINE)
