import pytest

from proxycache.server.cpus import cgroup_quotas, usable_cpus


@pytest.fixture
def cgroups(tmp_path):
    """Make a tree of cgroup files and return the quotas that limit the process."""

    def quotas(own: str, files: dict[str, str]) -> list[float]:
        for name, text in files.items():
            file = tmp_path / "cgroup" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        own_file = tmp_path / "own"
        own_file.write_text(own)
        return list(cgroup_quotas(tmp_path / "cgroup", own_file))

    return quotas


def test_quotas_of_version_2_count_on_each_level(cgroups):
    files = {"a/b/cpu.max": "150000 100000\n", "a/cpu.max": "400000 100000\n", "cpu.max": "max 100000\n"}

    assert cgroups("0::/a/b\n", files) == [1.5, 4.0]


def test_quotas_of_version_1_count(cgroups):
    files = {"cpu/d/cpu.cfs_quota_us": "50000\n", "cpu/d/cpu.cfs_period_us": "100000\n"}

    assert cgroups("3:memory:/x\n2:cpu,cpuacct:/d\n", files) == [0.5]


def test_a_container_that_sees_its_own_cgroup_as_the_root_is_limited_by_it(cgroups):
    files = {"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n"}

    assert cgroups("2:cpu:/docker/abc\n", files) == [2.0]


def test_no_limit_is_none(cgroups):
    assert cgroups("2:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}) == []
    assert cgroups("", {}) == []


def test_there_is_always_a_cpu():
    assert usable_cpus() >= 1
