"""Rules within one service: image, ports, host names, environment, login.

Owns what can be said of a service without looking at profiles. The rules are Akash's
(``go/sdl/v2.go``, ``go/sdl/expose.go``, ``go/manifest/v2beta3/{service,serviceexpose}.go``).
"""

from __future__ import annotations

import re

from provider.sdl import model
from provider.sdl.blocks import Block, Findings, Place
from provider.sdl.problems import quote, suggest
from provider.sdl.scalars import Complaint

HOST_LONGEST = 253
"""RFC 1123, as Kubernetes' ``IsDNS1123Subdomain``."""
EMAIL_SHORTEST = 5
PASSWORD_SHORTEST = 6
SERVICE_NAME = re.compile(model.SERVICE_NAME, re.ASCII)
_ENV_NAME = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*", re.ASCII)
_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_HOST = re.compile(rf"{_LABEL}(\.{_LABEL})*", re.ASCII)


def check_service(name: str, service: Block, findings: Findings) -> None:
    """Every rule that concerns ``service`` alone."""
    if not SERVICE_NAME.fullmatch(name):
        allowed = "a-z, 0-9 and -, beginning with a letter and not ending with -"
        hint = suggest_name(name)
        what = f"{quote(name)} cannot name a service"
        findings.rule(service.at, Complaint(what=what, allowed=allowed, hint=hint))
    if service.text("image") == "":
        complaint = Complaint(what="the image is empty", allowed="an image, as nginx:1.27")
        findings.rule(service.place("image"), complaint)
    for expose in service.blocks("expose"):
        _check_expose(expose, findings)
    for index, entry in service.indexed("env"):
        _check_env(service.place("env", index), entry, findings)
    credentials = service.block("credentials")
    if credentials is not None:
        _check_credentials(credentials, findings)


def suggest_name(name: str) -> str:
    """A name that would do: lower case, dashes for what is not allowed."""
    if len(name) > HOST_LONGEST:
        return ""
    better = re.sub(r"[^a-z0-9]+", "-", name.casefold()).strip("-0123456789")
    return f'as "{better}"' if better else ""


def _check_expose(expose: Block, findings: Findings) -> None:
    port = expose.number("port")
    if port is not None and not 1 <= port <= 65535:
        findings.rule(expose.place("port"), Complaint(what=f"{port} is not a port", allowed="1 to 65535"))
    proto = expose.text("proto")
    if proto is not None and proto.upper() not in ("TCP", "UDP", ""):
        hint = (
            "HTTP is served over TCP"
            if proto.upper() in ("HTTP", "HTTPS")
            else suggest(proto, ("TCP", "UDP"))
        )
        complaint = Complaint(what=f"{quote(proto)} is not a protocol", allowed="TCP, UDP", hint=hint)
        findings.rule(expose.place("proto"), complaint)
    for index, host in expose.indexed("accept"):
        _check_host(expose.place("accept", index), host, findings)
    options = expose.block("http_options")
    if options is not None:
        _check_cases(options, findings)
    for to in expose.blocks("to"):
        if "http_options" in to:
            findings.warn(to.place("http_options"), "http_options are ignored here", 'they stand beside "to"')


def _check_cases(options: Block, findings: Findings) -> None:
    cases = options.texts("next_cases") or ()
    if "off" in cases and len(cases) > 1:
        what = '"off" stands beside other cases'
        findings.rule(options.place("next_cases"), Complaint(what=what, allowed='"off" alone, or the others'))


def is_host(host: str) -> bool:
    """A DNS name in lower case: what an ingress can serve."""
    return len(host) <= HOST_LONGEST and bool(_HOST.fullmatch(host))


def _check_host(at: Place, host: str, findings: Findings) -> None:
    if is_host(host):
        return
    hint = "leave out the scheme and the path" if "/" in host else ""
    hint = f'as "{host.lower()}"' if not hint and is_host(host.lower()) else hint
    allowed = "a DNS name in lower case, as www.example.com"
    findings.rule(at, Complaint(what=f"{quote(host)} is not a host name", allowed=allowed, hint=hint))


def is_env_name(name: str) -> bool:
    """Kubernetes' ``IsEnvVarName``: what a container's environment may call a variable."""
    return bool(_ENV_NAME.fullmatch(name)) and name != "." and not name.startswith("..")


def _check_env(at: Place, entry: str, findings: Findings) -> None:
    name, equals, _ = entry.partition("=")
    if is_env_name(name):
        return
    shown = quote(name) if equals else "the entry"
    hint = "no space before the equals sign" if name != name.strip() else ""
    hint = 'write "- NAME=value", with an equals sign' if ":" in name and not hint else hint
    allowed = "NAME=value with letters, digits, _ - and . in the name, not beginning with a digit"
    complaint = Complaint(what=f"{shown} does not name a variable", allowed=allowed, hint=hint)
    findings.rule(at, complaint, is_private=True)


def _check_credentials(credentials: Block, findings: Findings) -> None:
    for name in ("host", "username", "password"):
        value = credentials.text(name)
        if value is not None and not value.strip():
            complaint = Complaint(what=f"the {name} is empty", allowed="a text")
            findings.rule(credentials.place(name), complaint, is_private=True)
    for name, shortest in (("email", EMAIL_SHORTEST), ("password", PASSWORD_SHORTEST)):
        value = credentials.text(name)
        if value is not None and value.strip() and len(value) < shortest:
            what, allowed = f"the {name} is too short", f"at least {shortest} characters"
            findings.add(
                credentials.place(name), Complaint(what=what, allowed=allowed, is_soft=True), is_private=True
            )
