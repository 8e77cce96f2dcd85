"""X8: addresses of media lead nowhere but to Meta's public addresses, and no token leaves for another place."""

import socket
from collections.abc import Sequence

import httpx
import pytest

from waypost.cloudapi.graph.client import Credentials, GraphClient
from waypost.cloudapi.graph.errors import GraphRefused, GraphUnreachable
from waypost.cloudapi.graph.media_addresses import MEDIA_HOSTS, MediaAddresses, is_public

pytestmark = [pytest.mark.anyio, pytest.mark.fault("X8")]

CREDENTIALS = Credentials("EAAtoken1234567890")
HOST = "lookaside.fbsbx.com"
URL = f"https://{HOST}/whatsapp_business/attachments/?mid=1"

ADDRESSES = {
    "Meta": ("157.240.1.1", True),
    "Meta, IPv6": ("2a03:2880:f12f:83:face:b00c:0:25de", True),
    "Meta behind NAT64": ("64:ff9b::9df0:101", True),
    "loopback": ("127.0.0.1", False),
    "loopback, another": ("127.8.8.8", False),
    "loopback, IPv6": ("::1", False),
    "any": ("0.0.0.0", False),
    "any, IPv6": ("::", False),
    "private 10": ("10.1.2.3", False),
    "private 172": ("172.31.255.255", False),
    "private 192": ("192.168.0.1", False),
    "metadata": ("169.254.169.254", False),
    "metadata of ECS": ("169.254.170.2", False),
    "metadata, IPv6": ("fd00:ec2::254", False),
    "metadata of Alibaba": ("100.100.100.200", False),
    "CGNAT": ("100.64.0.1", False),
    "benchmarks": ("198.18.0.1", False),
    "documentation": ("203.0.113.7", False),
    "protocols": ("192.0.0.192", False),
    "a relay of 6to4": ("192.88.99.1", False),
    "multicast": ("224.0.0.251", False),
    "multicast, global": ("233.252.0.1", False),
    "reserved": ("240.0.0.1", False),
    "broadcast": ("255.255.255.255", False),
    "mapped loopback": ("::ffff:127.0.0.1", False),
    "mapped metadata": ("::ffff:169.254.169.254", False),
    "mapped Meta": ("::ffff:157.240.1.1", False),
    "compatible loopback": ("::7f00:1", False),
    "NAT64 to metadata": ("64:ff9b::a9fe:a9fe", False),
    "NAT64 to 10": ("64:ff9b::a01:203", False),
    "NAT64 of a local network": ("64:ff9b:1::9df0:101", False),
    "6to4 to 10": ("2002:a01:203::1", False),
    "Teredo": ("2001:0:4136:e378:8000:63bf:3fff:fdd2", False),
    "unique local": ("fc00::1", False),
    "link-local, IPv6": ("fe80::1", False),
    "link-local with a zone": ("fe80::1%eth0", False),
    "site-local": ("fec0::1", False),
    "multicast, IPv6": ("ff0e::1", False),
    "documentation, IPv6": ("2001:db8::1", False),
    "a number": ("2130706433", False),
    "octal": ("0177.0.0.1", False),
    "short": ("127.1", False),
    "a name": ("localhost", False),
    "nothing": ("", False),
}


@pytest.mark.parametrize(("address", "expected"), ADDRESSES.values(), ids=ADDRESSES)
def test_an_address_is_judged_as_the_table_says(address: str, expected: bool) -> None:
    """Only public addresses of a single host are public, also if an IPv4 address is inside an IPv6 address."""
    assert is_public(address) is expected


class Names:
    """A resolver that gives another answer for each question."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self._answers = iter(answers)
        self.asked: list[str] = []

    async def __call__(self, host: str) -> Sequence[str]:
        self.asked.append(host)
        answer = next(self._answers)
        if not answer:
            raise socket.gaierror("no such name")
        return answer


class Meta:
    """A transport that records its requests. `answers` are given in turn, and the last one again and again."""

    def __init__(self, *answers: httpx.Response) -> None:
        self._answers = [*answers]
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def client(meta: Meta, names: Names) -> GraphClient:
    """Returns a client of this Meta and these names."""
    transport = httpx.MockTransport(meta)
    return GraphClient("https://graph.facebook.com", "v26.0", transport=transport, resolve_media=names)


async def download(graph: GraphClient, url: str = URL) -> bytes:
    """Downloads media and returns it."""
    content = bytearray()
    await graph.download_media(CREDENTIALS, url, content.extend)
    return bytes(content)


async def test_the_connection_goes_to_the_address_that_was_checked() -> None:
    """The name is resolved once, and the request goes to that address. The name is in TLS and in the request only."""
    meta, names = Meta(httpx.Response(200, content=b"bytes")), Names(["157.240.1.1", "2a03:2880::1"], ["127.0.0.1"])
    async with client(meta, names) as graph:
        assert await download(graph) == b"bytes"
    (request,) = meta.requests
    assert (request.url.host, request.headers["host"]) == ("157.240.1.1", HOST)
    assert request.extensions["sni_hostname"] == HOST
    assert names.asked == [HOST]


@pytest.mark.parametrize(
    "found", [[address] for address, expected in ADDRESSES.values() if not expected] + [["157.240.1.1", "10.0.0.1"]]
)
async def test_a_name_that_leads_into_a_private_network_gets_no_request(found: list[str]) -> None:
    """If any address of the name is not public, nothing is sent: the other ones could be a disguise."""
    meta = Meta(httpx.Response(200, content=b"bytes"))
    async with client(meta, Names(found)) as graph:
        with pytest.raises(GraphRefused, match="private network"):
            await download(graph)
    assert meta.requests == []


async def test_a_name_that_changes_between_two_requests_is_checked_each_time() -> None:
    """DNS rebinding: the name of a redirect is resolved again, and its new address is checked before the request."""
    meta = Meta(httpx.Response(302, headers={"location": "/again"}), httpx.Response(200, content=b"secret"))
    async with client(meta, Names(["157.240.1.1"], ["169.254.169.254"])) as graph:
        with pytest.raises(GraphRefused, match="private network"):
            await download(graph)
    assert [request.url.host for request in meta.requests] == ["157.240.1.1"]


@pytest.mark.parametrize(
    "target",
    [
        "https://elsewhere.example/", "//elsewhere.example/", "http://lookaside.fbsbx.com/", "https://127.0.0.1/",
        "https://[::1]/", "https://[::ffff:169.254.169.254]/", "http://169.254.169.254/latest/meta-data/",
        "https://lookaside.fbsbx.com:8443/", "https://lookaside.fbsbx.com@elsewhere.example/",
        "https://lookaside.fbsbx.com.elsewhere.example/", "https://2130706433/", "https://0x7f000001/",
        "https://localhost/", "file:///etc/passwd", "gopher://127.0.0.1:6379/_FLUSHALL",
        "https://lookaside.fbsbx.com\\@elsewhere.example/", "https://elsewhere.example#.fbcdn.net",
        "https://elsewhere.example?.fbcdn.net", "https://elsewhere.example/.fbcdn.net",
        "https://graph.facebook.com:444/", "http://graph.facebook.com/",
    ],
)  # fmt: skip
async def test_no_redirect_leads_off_the_list(target: str) -> None:
    """A redirect to another host, scheme or port is not followed, so the token does not leave for it."""
    meta = Meta(httpx.Response(302, headers={"location": target}), httpx.Response(200, content=b"secret"))
    async with client(meta, Names(["157.240.1.1"], ["157.240.1.1"])) as graph:
        with pytest.raises(GraphRefused, match="not sent"):
            await download(graph)
    assert len(meta.requests) == 1


async def test_a_name_without_an_address_is_an_outage() -> None:
    """A name that cannot be resolved says nothing about the media. The download may be tried again."""
    async with client(Meta(httpx.Response(200)), Names([])) as graph:
        with pytest.raises(GraphUnreachable):
            await download(graph)


async def test_the_host_of_the_graph_api_itself_may_be_private() -> None:
    """The Graph API as configured is trusted. In development it is a simulator on loopback."""
    meta, names = Meta(httpx.Response(200, content=b"bytes")), Names()
    transport = httpx.MockTransport(meta)
    async with GraphClient("http://127.0.0.1:8082", "v26.0", transport=transport, resolve_media=names) as graph:
        assert await download(graph, "http://127.0.0.1:8082/media/1") == b"bytes"
        with pytest.raises(GraphRefused, match="not on one of Meta's hosts"):
            await download(graph, "http://127.0.0.1:6379/media/1")
    assert names.asked == []


async def test_behind_a_proxy_the_proxy_resolves_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind a proxy the name is not resolved here, because pods may have no DNS for it. The host must be Meta's."""
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:3128")
    names = Names()
    addresses = MediaAddresses(httpx.URL("https://graph.facebook.com"), MEDIA_HOSTS, names)
    target = await addresses.target(addresses.checked(URL))
    assert (target.url.host, target.extensions, names.asked) == (HOST, {}, [])
