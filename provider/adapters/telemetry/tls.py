"""TLS for scrapes from outside: our certificate, and who may come.

Owns the settings and what is wrong with them. Invariant: with a ``client_ca`` nobody gets a byte of an answer
whose certificate it did not sign. Files are read at the start: after a renewal the daemon is restarted.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from provider.domain.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """In PEM. Without ``client_ca`` everybody may connect."""

    certificate: Path
    """The chain, ours first."""
    key: Path
    client_ca: Path | None = None


def server_context(files: TlsFiles) -> ssl.SSLContext:
    """TLS 1.2 or newer. ``ConfigError`` names the setting whose file will not do."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    for setting, path in (("certificate", files.certificate), ("key", files.key)):
        _readable(setting, path)
    try:
        context.load_cert_chain(files.certificate, files.key)
    except (ssl.SSLError, OSError) as error:
        raise ConfigError(
            f"telemetry.certificate {files.certificate} and telemetry.key {files.key} do not fit: {error}",
            remedy="name a certificate in PEM and the key that it was made for",
        ) from error
    if files.client_ca is not None:
        _readable("client_ca", files.client_ca)
        try:
            context.load_verify_locations(files.client_ca)
        except ssl.SSLError as error:
            raise ConfigError(
                f"telemetry.client_ca {files.client_ca} holds no certificate: {error}",
                remedy="name the certificate, in PEM, of the authority that signs those of scrapers",
            ) from error
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _readable(setting: str, path: Path) -> None:
    try:
        path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"telemetry.{setting} {path} cannot be read: {error.strerror}",
            remedy="name a file that the daemon may read",
        ) from error
