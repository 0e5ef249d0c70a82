"""Caddy's whole configuration, made once. Pure.

Every request first goes to the daemon, as a GET without headers or body: an answer of 200 names upstreams and
grades in headers of ours, which become variables of this request that no client can set; anything else is the
client's answer. Keys as documented for Caddy 2.6 (caddyserver.com/docs/json).

Invariant: nothing from a client decides where a request is sent to.
"""

from __future__ import annotations

from collections.abc import Iterable

from provider.adapters.ingress.grades import BODY_BYTES, READ_MS, SEND_MS, TRIES
from provider.adapters.ingress.settings import IngressSettings, Tls, joined

Json = dict[str, object]

PREFIX = "X-Gp-"
"""Of our headers, in answers of the daemon; a client's own of such names reach nobody."""
UPSTREAMS = ("Upstream-1", "Upstream-2", "Upstream-3")
BODY, READ, SEND, TRY = "Body", "Read", "Send", "Tries"
QUESTION = "/route?host={http.request.host}&length={http.request.header.Content-Length}"
"""Caddy escapes what it puts in."""
BARE = ("*a*", "*e*", "*i*", "*o*", "*u*", "*-*")
"""Header names by what is in them; Caddy 2.6.2 panics at a plain ``*``. ``Host`` is among them."""
DIAL = "2s"
PAGES = {
    "413": "the request is larger than this service takes",
    "502": "the service behind this name does not answer",
    "504": "the service behind this name took too long to answer",
}
OTHER_PAGE = "the request could not be served"


def caddy_config(
    settings: IngressSettings, daemon: tuple[str, int], storage: str, pem: tuple[str, str] | None = None
) -> Json:
    """``daemon`` answers questions; ``storage`` is a folder as Caddy sees it; ``pem`` a chain and its key."""
    servers = {"http": _server(joined(settings.http), _routes(daemon, _redirect(settings) or _serve()))}
    apps: Json = {"http": {"servers": servers, "grace_period": "2s"}}
    if settings.serves_tls:
        policies: Json = {"tls_connection_policies": [{}]}
        servers["https"] = _server(joined(settings.https), _routes(daemon, _serve())) | policies
        apps["tls"] = _tls(settings, daemon, pem)
        authority = {"local": {"name": "provider ingress", "install_trust": False}}
        apps["pki"] = {"certificate_authorities": authority}
    return {
        "admin": {"disabled": True, "config": {"persist": False}},
        "logging": {"logs": {"default": {"level": "WARN", "exclude": ["http.log", "http.reverse_proxy"]}}},
        "storage": {"module": "file_system", "root": storage},
        "apps": apps,
    }


def _server(listen: str, routes: list[Json]) -> Json:
    return {
        "listen": [listen],
        "protocols": ["h1", "h2"],
        "automatic_https": {"disable": True},
        "read_header_timeout": "10s",
        "idle_timeout": "2m",
        "max_header_bytes": 65_536,
        "routes": routes,
        "errors": {"routes": [{"handle": _error_page()}]},
    }


def _routes(daemon: tuple[str, int], then: list[Json]) -> list[Json]:
    names = (*UPSTREAMS, BODY, READ, SEND, TRY)
    answered = {_variable(name): f"{{http.reverse_proxy.header.{PREFIX}{name}}}" for name in names}
    ask: Json = {
        "handler": "reverse_proxy",
        "upstreams": [{"dial": joined(daemon)}],
        "rewrite": {"method": "GET", "uri": QUESTION},
        "headers": {"request": {"delete": list(BARE)}},
        "transport": {"protocol": "http", "dial_timeout": DIAL, "compression": False},
        "handle_response": [
            {
                "match": {"status_code": [200]},
                "routes": [{"handle": [{"handler": "vars", **answered}, *then]}],
            }
        ],
    }
    return [{"handle": [ask]}]


def _serve() -> list[Json]:
    """Hold the body to its limit, then go where the daemon said."""
    limits = _by(BODY, BODY_BYTES, lambda most: [{"handler": "request_body", "max_size": most}])
    proxies = _by(
        TRY,
        TRIES,
        lambda tries: [
            _by(READ, READ_MS, lambda read: [_by(SEND, SEND_MS, lambda send: [_proxy(tries, read, send)])])
        ],
    )
    return [limits, proxies]


def _proxy(tries: int, read_ms: int, send_ms: int) -> Json:
    proxy: Json = {
        "handler": "reverse_proxy",
        "upstreams": [{"dial": f"{{http.vars.{_variable(name)}}}"} for name in UPSTREAMS[:tries]],
        "headers": {"request": {"delete": [f"{PREFIX}*"]}},
        "transport": {
            "protocol": "http",
            "dial_timeout": DIAL,
            "response_header_timeout": f"{read_ms}ms",
            "write_timeout": f"{send_ms}ms",
            "compression": False,
            "keep_alive": {"idle_timeout": "30s", "max_idle_conns_per_host": 32},
        },
        "flush_interval": -1,
    }
    if tries > 1:
        proxy["load_balancing"] = {"selection_policy": {"policy": "round_robin"}, "retries": tries - 1}
    return proxy


def _by(name: str, grades: Iterable[int], handle: object) -> Json:
    """One route a grade, chosen by the variable ``name``."""
    assert callable(handle), "made for each grade"
    routes = [
        {"match": [{"vars": {_variable(name): [str(grade)]}}], "handle": handle(grade)} for grade in grades
    ]
    return {"handler": "subroute", "routes": routes}


def _redirect(settings: IngressSettings) -> list[Json]:
    """To TLS, where that is served. Empty where it is not."""
    if settings.tls is Tls.NONE:
        return []
    port = "" if settings.https[1] == 443 else f":{settings.https[1]}"
    there = f"https://{{http.request.host}}{port}{{http.request.uri}}"
    return [{"handler": "static_response", "status_code": 308, "headers": {"Location": [there]}}]


def _error_page() -> list[Json]:
    pages: Json = {
        "handler": "map",
        "source": "{http.error.status_code}",
        "destinations": ["{gp.page}"],
        "mappings": [{"input": status, "outputs": [text]} for status, text in PAGES.items()],
        "defaults": [OTHER_PAGE],
    }
    answer: Json = {
        "handler": "static_response",
        "status_code": "{http.error.status_code}",
        "headers": {"Content-Type": ["text/plain; charset=utf-8"]},
        "body": "{http.error.status_code} {gp.page}\n",
    }
    return [pages, answer]


def _tls(settings: IngressSettings, daemon: tuple[str, int], pem: tuple[str, str] | None) -> Json:
    found: Json = {}
    if pem is not None:
        found["certificates"] = {"load_pem": [{"certificate": pem[0], "key": pem[1]}]}
    if settings.tls is not Tls.NONE:
        issuer: Json = {"module": "internal" if settings.tls is Tls.INTERNAL else "acme"}
        if settings.tls is Tls.ACME and settings.acme_email:
            issuer["email"] = settings.acme_email
        found["automation"] = {
            "policies": [{"issuers": [issuer], "on_demand": True}],
            "on_demand": {"ask": f"http://{joined(daemon)}/known"},
        }
    return found


def _variable(name: str) -> str:
    return "gp_" + name.lower().replace("-", "_")
