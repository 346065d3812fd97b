"""Ways to write an address that nobody may make the gateway call."""

from __future__ import annotations

PRIVATE_ADDRESSES = (
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",  # carrier-grade NAT
    "100.100.100.200",  # Alibaba's metadata
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",  # Azure's host
    "169.254.169.254",  # metadata of most clouds
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.9",
    "192.0.0.192",  # Oracle's metadata
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",  # IPv4-compatible
    "::8.8.8.8",
    "::ffff:0.0.0.0",  # IPv4-mapped
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:0:127.0.0.1",  # IPv4-translated
    "64:ff9b::127.0.0.1",  # NAT64
    "64:ff9b::10.0.0.1",
    "64:ff9b:1::7f00:1",
    "100::1",
    "2001::7f00:1",  # Teredo
    "2001:0:4136:e378:8000:63bf:80ff:fffe",
    "2001:db8::1",
    "2002:7f00:1::",  # 6to4
    "2002:808:808::",
    "3fff::1",
    "4000::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",  # Amazon's metadata
    "fe80::1",
    "fec0::1",
    "ff02::1",
)

PUBLIC_ADDRESSES = (
    "1.1.1.1",
    "8.8.8.8",
    "100.63.255.255",
    "100.128.0.1",
    "172.32.0.1",
    "::ffff:8.8.8.8",
    "64:ff9b::8.8.8.8",  # what an IPv4-only host resolves to where there is only IPv6
    "2001:4860:4860::8888",
    "2606:4700:4700::1111",
)


def url_of(address: str, port: int) -> str:
    return f"http://[{address}]:{port}/" if ":" in address else f"http://{address}:{port}/"


def refused_urls(port: int) -> list[str]:
    """Every private address as it is, and everything that hides one, or is no URL to call at all."""
    disguised = (
        "http://2130706433:{}/",
        "http://017700000001:{}/",
        "http://0x7f000001:{}/",
        "http://0x7F.1:{}/",
        "http://0177.0.0.1:{}/",
        "http://0x7f.0x0.0x0.0x1:{}/",
        "http://127.1:{}/",
        "http://127.0.1:{}/",
        "http://0:{}/",
        "http://127.0.0.1.:{}/",
        "http://127.0.0.01:{}/",
        "http://134744072:{}/",
        "http://1.2.3.4.5:{}/",
        "http://①②⑦.⓪.⓪.①:{}/",
        "http://127。0。0。1:{}/",
        "http://%31%32%37.0.0.1:{}/",
        "http://[::ffff:7f00:1]:{}/",
        "http://[0:0:0:0:0:ffff:127.0.0.1]:{}/",
        "http://[fe80::1%25lo]:{}/",
        "http://[::1%25lo]:{}/",
        "http://[1:2:3]:{}/",
        "http://[v1.a:b]:{}/",
        "http://[v1.a]:{}/",
        "http://[::ffff:1.2.3.4.5]:{}/",
        "HTTP://127.0.0.1:{}/",
        "http://localhost:{}/",
        "http://LOCALHOST:{}/",
        "http://user:password@127.0.0.1:{}/",
        "http://user@example.com:{}/",
        "http://@example.com:{}/",
        "http://:@example.com:{}/",
        "http://example.com@127.0.0.1:{}/",
        "http://127.0.0.1:{}\\@example.com/",
        "http://127.0.0.1:{}#@example.com/",
        "http://example.com\\@127.0.0.1:{}/",
        "ftp://example.com:{}/",
        "file://localhost:{}/etc/passwd",
        "gopher://127.0.0.1:{}/_x",
        "ws://example.com:{}/",
        "unix://localhost:{}/",
        "http+unix://localhost:{}/",
        "//127.0.0.1:{}/",
        "127.0.0.1:{}",
    )
    plain = (
        "",
        "hook",
        "http://",
        "http:///hook",
        "http://?q",
        "http:127.0.0.1",
        "http://example.com:0/",
        "http://example.com:65536/",
        "http://example.com:-1/",
        "http://example.com:x/",
        "http://[::1",
        "http://[127.0.0.1]/",
        "http://.example.com/",
        "http://exam ple.com/",
        "http://example.com/ HTTP/1.1\r\nx: y",
        "http://example.com/\x00",
        "http://example..com/",
        "http://" + "a" * 64 + ".com/",
        "http://" + "a." * 127 + "com/",
        "http://example.com/" + "a" * 2048,
        "javascript:alert(1)",
        "data:text/plain,x",
    )
    literals = [url_of(address, port) for address in PRIVATE_ADDRESSES]
    return [*literals, *(url.format(port) for url in disguised), *plain]
