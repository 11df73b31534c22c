"""skopeo copies from registry to registry, all platforms byte for byte, without and with a login."""

from pathlib import Path

from tests.clients.checks import check_layout
from tests.clients.debian_image import gather_contents
from tests.clients.login import PASSWORD, USER, WRONG_PASSWORD
from tests.clients.pulling import pull_image
from tests.clients.tools import find_tool, run, run_refused
from tests.clients.upstream_content import HUB


def _copy_from(hub) -> list[str]:
    insecure = ["--src-tls-verify=false", "--dest-tls-verify=false"]
    source = f"docker://{hub['docker.io'].address}/{HUB}:multi"
    return [find_tool("skopeo"), "copy", "--all", "--preserve-digests", *insecure, source]


def test_skopeo_copies_every_platform_into_a_local_repository(content, hub, registry, tmp_path: Path) -> None:
    image, target = content.images[HUB, "multi"], f"docker://{registry.address}/local/skopeo:multi"

    run([*_copy_from(hub), target])

    assert pull_image(registry.url, "local/skopeo", "multi").digest == image.digest
    back = ["copy", "--all", "--preserve-digests", "--src-tls-verify=false", target, f"oci:{tmp_path / 'layout'}:1"]
    run([find_tool("skopeo"), *back])
    check_layout(tmp_path / "layout", gather_contents(image))


def test_a_user_copies_by_skopeo_and_everybody_reads(content, hub, guarded_registry, tmp_path: Path) -> None:
    skopeo, address = find_tool("skopeo"), guarded_registry.address
    target, signed_in = f"docker://{address}/local/skopeo:multi", tmp_path / "auth.json"
    environment = {"REGISTRY_AUTH_FILE": str(signed_in)}
    signed_in.write_text("{}")
    login = [skopeo, "login", "--tls-verify=false", "-u", USER, address, "-p"]

    refused = run_refused([*_copy_from(hub), target], environment=environment)
    assert "denied" in refused or "authentication required" in refused
    assert "invalid username/password" in run_refused([*login, WRONG_PASSWORD], environment=environment)
    run([*login, PASSWORD], environment=environment)
    run([*_copy_from(hub), target], environment=environment)
    run([skopeo, "delete", "--tls-verify=false", f"docker://{address}/local/skopeo:multi"], environment=environment)
    run([*_copy_from(hub), target], environment=environment)

    pulled = pull_image(guarded_registry.url, "local/skopeo", "multi")
    assert pulled.contents.keys() == gather_contents(content.images[HUB, "multi"]).keys()
