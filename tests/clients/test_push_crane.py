"""crane pushes a layout and copies between registries, without and with a login."""

from pathlib import Path

from tests.builders import image
from tests.clients.archives import write_layout
from tests.clients.checks import check_layout
from tests.clients.debian_image import gather_contents
from tests.clients.login import PASSWORD, USER, WRONG_PASSWORD
from tests.clients.pulling import pull_image
from tests.clients.tools import find_current_tool, run, run_refused
from tests.clients.upstream_content import HUB


def test_crane_copies_every_platform_and_pulls_it_back(content, hub, registry, tmp_path: Path) -> None:
    crane, index = find_current_tool("crane"), content.images[HUB, "multi"]
    target = f"{registry.address}/local/crane/copied"

    run([crane, "copy", "--insecure", f"{hub['docker.io'].address}/{HUB}:multi", f"{target}:multi"])
    run([crane, "pull", "--insecure", "--format", "oci", f"{target}:multi", tmp_path / "layout"])

    check_layout(tmp_path / "layout", gather_contents(index))
    run([crane, "validate", "--insecure", "--remote", f"{target}:multi"])
    assert "local/crane/copied" in run([crane, "catalog", "--insecure", registry.address]).split()


def test_crane_pushes_tags_lists_and_deletes(registry, tmp_path: Path) -> None:
    crane, built = find_current_tool("crane"), image(seed="crane", layer_size=300_000)
    target = f"{registry.address}/local/crane/pushed"
    write_layout(tmp_path, built)

    run([crane, "push", "--insecure", tmp_path, f"{target}:1"])
    run([crane, "tag", "--insecure", f"{target}:1", "2"])
    run([crane, "delete", "--insecure", f"{target}:1"])

    assert run([crane, "ls", "--insecure", target]).split() == ["2"]
    pulled = pull_image(registry.url, "local/crane/pushed", "2")
    assert pulled.contents == {digest: each.body for digest, each in gather_contents(built).items()}


def test_a_user_pushes_by_crane_and_everybody_pulls(guarded_registry, tmp_path: Path) -> None:
    crane, built = find_current_tool("crane"), image(seed="crane as alice")
    layout, environment = tmp_path / "layout", {"DOCKER_CONFIG": str(tmp_path / "docker")}
    target = f"{guarded_registry.address}/local/crane:1"
    push: list[str | Path] = [crane, "push", "--insecure", layout, target]
    login = [crane, "auth", "login", "--insecure", guarded_registry.address, "-u", USER, "-p"]
    write_layout(layout, built)

    assert "authentication required" in run_refused(push, environment=environment)
    run([*login, WRONG_PASSWORD], environment=environment)  # crane only writes it down
    assert "wrong user name or password" in run_refused(push, environment=environment)
    run([*login, PASSWORD], environment=environment)
    run(push, environment=environment)

    assert pull_image(guarded_registry.url, "local/crane", "1").digest == built.digest
    pull: list[str | Path] = [crane, "pull", "--insecure", "--format", "oci", target, tmp_path / "pulled"]
    run(pull, environment={"DOCKER_CONFIG": str(tmp_path / "nobody")})
    check_layout(tmp_path / "pulled", gather_contents(built))
