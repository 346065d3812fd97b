"""Certificates for upstreams on loopback: one that holds, and those that a client must refuse."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

GOOD = "good"
BAD = ("self_signed", "expired", "wrong_host")
LOOPBACK = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))


@dataclass(frozen=True, slots=True)
class Authority:
    """Whoever trusts it trusts what it has signed."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate


def make_certificates(folder: Path) -> Path:
    """Writes `{name}.pem` (certificate and key) for `GOOD` and each of `BAD`; returns the file to trust."""
    authority = _make_authority("Chaos authority")
    trusted = folder / "authority.pem"
    trusted.write_bytes(authority.certificate.public_bytes(serialization.Encoding.PEM))
    elsewhere = x509.DNSName("elsewhere.example")
    now = datetime.datetime.now(datetime.UTC)
    yesterday = now - datetime.timedelta(days=1)
    tomorrow = now + datetime.timedelta(days=1)
    long_ago = now - datetime.timedelta(days=30)
    _write(folder, GOOD, authority, LOOPBACK, yesterday, tomorrow)
    _write(folder, "self_signed", _make_authority("Nobody"), LOOPBACK, yesterday, tomorrow)
    _write(folder, "expired", authority, LOOPBACK, long_ago, yesterday)
    _write(folder, "wrong_host", authority, elsewhere, yesterday, tomorrow)
    return trusted


def load_contexts(folder: Path) -> Mapping[str, ssl.SSLContext]:
    """A server's context for each certificate, by name."""
    contexts = {}
    for name in (GOOD, *BAD):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / f"{name}.pem")
        contexts[name] = context
    return contexts


def _make_authority(name: str) -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    builder = _builder(subject, subject, key, now - datetime.timedelta(days=60), now + datetime.timedelta(days=60))
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return Authority(key, builder.sign(key, hashes.SHA256()))


def _write(
    folder: Path,
    name: str,
    authority: Authority,
    host: x509.GeneralName,
    begins: datetime.datetime,
    ends: datetime.datetime,
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = _builder(subject, authority.certificate.subject, key, begins, ends)
    builder = builder.add_extension(x509.SubjectAlternativeName([host]), critical=False)
    certificate = builder.sign(authority.key, hashes.SHA256())
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / f"{name}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + private)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    begins: datetime.datetime,
    ends: datetime.datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
    )
