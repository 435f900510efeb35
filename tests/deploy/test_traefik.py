"""The edge of the containers, held to this machine's: no Traefik runs here, so both configurations are compared."""

import re
from typing import Any

import jsonschema
import pytest
import yaml

from deploy.local import instance
from libs.common import http

ROUTES: dict[str, Any] = yaml.safe_load((instance.PROJECT / "deploy/traefik/routes.yml").read_text())["http"]
COMPOSE: dict[str, Any] = yaml.safe_load((instance.PROJECT / "docker-compose.yml").read_text())
HAPROXY = (instance.TEMPLATES / "haproxy.cfg").read_text()
KINDS = {"gateways": "gateway", "signals": "signals"}

DURATION = {"type": "string", "pattern": "^[0-9]+(ms|s|m|h)$"}
NAME = {"type": "string"}


def closed(*required: str, **properties: object) -> dict[str, object]:
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


def each(**shape: Any) -> dict[str, object]:
    return {"type": "object", "additionalProperties": shape}


SCHEMA = closed(
    "routers",
    "services",
    routers=each(
        **closed(
            "rule", "service", rule=NAME, service=NAME, priority={"type": "integer"}, middlewares={"type": "array"}
        )
    ),
    middlewares=each(
        **closed("retry", retry=closed("attempts", attempts={"type": "integer"}, initialInterval=DURATION))
    ),
    services=each(
        oneOf=[
            closed("failover", failover=closed("service", "fallback", service=NAME, fallback=NAME)),
            closed(
                "loadBalancer",
                loadBalancer=closed(
                    "servers",
                    servers={"type": "array", "minItems": 1, "items": closed("url", url=NAME)},
                    serversTransport=NAME,
                    healthCheck=closed(
                        "path",
                        path=NAME,
                        status={"type": "integer"},
                        interval=DURATION,
                        unhealthyInterval=DURATION,
                        timeout=DURATION,
                    ),
                ),
            ),
        ]
    ),
    serversTransports=each(
        **closed(
            forwardingTimeouts=closed(dialTimeout=DURATION, responseHeaderTimeout=DURATION, idleConnTimeout=DURATION)
        )
    ),
)
"""Of Traefik 3.5's file provider what is used here. It refuses a whole file for one word that it does not know."""


def seconds(text: str) -> float:
    number, unit = re.fullmatch(r"(\d+)(ms|s|m|h)", text).groups()  # type: ignore[union-attr]  # the schema's pattern
    return float(number) * {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}[unit]


def haproxy(setting: str) -> float:
    """The longest of it, where some requests have their own."""
    found = re.findall(rf"\b{setting} +(\d+(?:ms|s|m|h))\b", HAPROXY)
    return max(map(seconds, found))


def balancer(name: str) -> dict[str, Any]:
    found: dict[str, Any] = ROUTES["services"][name]["loadBalancer"]
    return found


def test_it_holds_nothing_that_traefik_would_not_know() -> None:
    jsonschema.Draft202012Validator(SCHEMA).validate(ROUTES)
    misspelt = {**ROUTES, "services": {"gateway": {"failOver": {"service": "a", "fallback": "b"}}}}
    assert not jsonschema.Draft202012Validator(SCHEMA).is_valid(misspelt)


def test_every_name_leads_to_something() -> None:
    services, middlewares = ROUTES["services"], ROUTES["middlewares"]
    routers = ROUTES["routers"].values()
    failovers = [service["failover"] for service in services.values() if "failover" in service]
    asked = [router["service"] for router in routers]
    asked += [failover[which] for failover in failovers for which in ("service", "fallback")]
    assert sorted(asked) == sorted(services)
    assert {name for router in routers for name in router["middlewares"]} == set(middlewares)
    transports = {
        service["loadBalancer"]["serversTransport"] for service in services.values() if "loadBalancer" in service
    }
    assert transports == set(ROUTES["serversTransports"])
    for service in services.values():
        for server in service.get("loadBalancer", {}).get("servers", ()):
            name, port = re.fullmatch(r"http://(\w+):(\d+)", server["url"]).groups()  # type: ignore[union-attr]
            assert COMPOSE["services"][name]["environment"][f"{name.upper()}_PORT"] == int(port)


@pytest.mark.parametrize("kind", KINDS)
def test_when_nobody_passes_the_check_whoever_listens_is_asked_all_the_same(kind: str) -> None:
    assert ROUTES["services"][kind]["failover"] == {"service": f"serving-{kind}", "fallback": f"listening-{kind}"}
    serving, listening = balancer(f"serving-{kind}"), balancer(f"listening-{kind}")
    assert serving["servers"] == listening["servers"]
    assert "healthCheck" not in listening
    assert f"backend listening-{kind}" in HAPROXY


@pytest.mark.parametrize("kind", KINDS)
def test_who_does_not_serve_is_noticed_as_soon_as_here(kind: str) -> None:
    check = balancer(f"serving-{kind}")["healthCheck"]
    assert f"option httpchk GET {check['path']}\n" in HAPROXY
    assert f"http-check expect status {check['status']}\n" in HAPROXY
    given = (check["interval"], check["unhealthyInterval"], check["timeout"])
    assert [seconds(each) for each in given] == [haproxy("inter"), haproxy("downinter"), haproxy("timeout check")]
    assert seconds(check["interval"]) * 2 < http.NOTICE_SECONDS


def test_what_reaches_nobody_is_tried_as_often_as_here() -> None:
    [again] = re.findall(r"^ +retries (\d+)$", HAPROXY, re.MULTILINE)
    assert ROUTES["middlewares"]["again"]["retry"]["attempts"] == 1 + int(again)
    assert all(router["middlewares"] == ["again"] for router in ROUTES["routers"].values())


def test_it_waits_as_long_as_the_edge_here() -> None:
    timeouts = ROUTES["serversTransports"]["inside"]["forwardingTimeouts"]
    assert seconds(timeouts["dialTimeout"]) == haproxy("timeout connect")
    assert seconds(timeouts["responseHeaderTimeout"]) == max(haproxy("timeout server"), haproxy("set-timeout server"))
    [idle] = re.findall(r"respondingtimeouts\.idletimeout=(\w+)", " ".join(COMPOSE["services"]["edge"]["command"]))
    assert seconds(idle) == haproxy("timeout http-keep-alive")


def test_a_connection_that_it_keeps_is_never_closed_by_an_instance_just_when_it_is_used_again() -> None:
    assert seconds(ROUTES["serversTransports"]["inside"]["forwardingTimeouts"]["idleConnTimeout"]) < http.IDLE_SECONDS


def test_what_is_for_operators_stays_inside() -> None:
    [inside] = re.findall(r"return status 404 if \{ path,url_dec -m beg ([^}]+)\}", HAPROXY)
    rule = ROUTES["routers"]["gateway"]["rule"]
    assert re.findall(r"!PathPrefix\(`([^`]+)`\)", rule) == inside.split()


def test_an_alert_goes_to_signals_although_the_gateways_rule_is_longer() -> None:
    """Without priorities Traefik asks the longest rule first."""
    routers = ROUTES["routers"]
    assert routers["webhooks"]["priority"] > routers["gateway"]["priority"]
