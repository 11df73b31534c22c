"""An upstream's answer does not lead into our own network."""

import asyncio
import socket
import threading

import pytest

from proxycache.upstream.addresses import AddressRefused, GuardedResolver, is_address, is_public_address


@pytest.mark.parametrize("address", ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "::ffff:1.1.1.1"])
def test_public_addresses(address: str) -> None:
    assert is_public_address(address)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "fe80::1",
        "fe80::1%eth0",
        "fd00::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
    ],
)
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public_address(address)


def test_names_are_not_addresses() -> None:
    assert [is_address(host) for host in ("127.0.0.1", "::1", "localhost", "127.1", "")] == [
        True,
        True,
        False,
        False,
        False,
    ]


async def test_a_name_is_judged_by_its_addresses() -> None:
    resolver = GuardedResolver(frozenset({"registry.example"}), proxies=frozenset())

    with pytest.raises(AddressRefused, match="localhost is not a public address"):
        await resolver.resolve("localhost", 80)


async def test_one_internal_address_among_public_ones_is_enough_to_refuse() -> None:
    with pytest.raises(AddressRefused):
        GuardedResolver(frozenset(), proxies=frozenset()).admit("rebinding.example", ["1.1.1.1", "127.0.0.1"])


@pytest.mark.parametrize(("trusted", "proxies"), [({"localhost"}, set()), (set(), {"localhost"})])
async def test_trusted_hosts_and_proxies_may_have_any_address(trusted: set[str], proxies: set[str]) -> None:
    resolver = GuardedResolver(frozenset(trusted), proxies=frozenset(proxies))

    assert {found["host"] for found in await resolver.resolve("localhost", 80)} <= {"127.0.0.1", "::1"}


async def test_only_an_internal_leader_leads_to_internal_hosts() -> None:
    resolver = GuardedResolver(
        frozenset({"registry.example", "auth.example"}), proxies=frozenset(), leader="registry.example"
    )
    resolver.admit("registry.example", ["1.1.1.1"])
    resolver.admit("auth.example", ["10.0.0.1"])
    with pytest.raises(AddressRefused):
        resolver.admit("storage.example", ["10.0.0.2"])

    resolver.admit("registry.example", ["10.0.0.3"])

    resolver.admit("storage.example", ["10.0.0.2"])


async def test_look_ups_that_hang_leave_the_threads_of_the_disk_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = threading.Event()

    def hang(*_: object, **__: object) -> list[object]:
        answer.wait()
        return []

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    resolver = GuardedResolver(frozenset(), proxies=frozenset())
    async with asyncio.TaskGroup() as group:
        asking = [group.create_task(resolver.resolve(f"host-{number}.example")) for number in range(100)]
        await asyncio.sleep(0)
        try:
            async with asyncio.timeout(5):
                assert await asyncio.to_thread(lambda: "read") == "read"
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await resolver.resolve("one-more.example")
        finally:
            answer.set()

    assert [task.result() for task in asking] == [[]] * 100
