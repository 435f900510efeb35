"""The demo user of a local stack, made through the gateway's public API, and the facts that a newcomer needs."""

import json
import secrets
from collections.abc import Mapping
from pathlib import Path

import httpx

from deploy.local import kept
from deploy.local.instance import Instance

EMAIL = "demo@example.com"
PRICES = {"simulator": "SIMULATED prices", "replay": "recorded prices, REPLAYED", "live": "LIVE prices of a broker"}
"""By the feed that was chosen."""


def demo(instance: Instance) -> dict[str, str]:
    """The facts of `demo.json`; the user, account and API key are made unless the stored ones still work."""
    path = instance.demo_file
    stored: dict[str, str] = kept.facts(path)
    facts = addresses(instance) | {
        "email": EMAIL,
        "password": stored.get("password", f"Demo-{secrets.token_hex(8)}"),
    }
    with httpx.Client(base_url=instance.url("gateway"), timeout=10, trust_env=False) as gateway:
        known = log_in(gateway, facts)
        if not known:
            write_secret(path, facts)  # whoever is stopped after this knows the password when he comes again
            register(gateway, facts, path)
            log_in(gateway, facts)
        if known and serves(gateway, stored):
            facts |= {name: stored[name] for name in ("account_id", "api_key")}
        else:
            account = post(gateway, "/api/v2/accounts/", {"name": "Demo", "broker": "paper"})
            key = post(gateway, "/api/v2/auth/api-keys", {"name": "demo"})
            facts |= {"account_id": account["account_id"], "api_key": key["api_key"]}
    if facts != stored:
        write_secret(path, facts)
    return facts


def addresses(instance: Instance) -> dict[str, str]:
    stream = f"ws://127.0.0.1:{instance.port('gateway')}/api/v2/stream"
    return {
        "gateway_url": instance.url("gateway"),
        "stream_url": stream,
        "signals_url": instance.url("signals"),
    }


def log_in(gateway: httpx.Client, facts: Mapping[str, str]) -> bool:
    credentials = {"email": facts["email"], "password": facts["password"]}
    answer = gateway.post("/api/v2/auth/login", json=credentials)
    if answer.status_code == httpx.codes.UNAUTHORIZED:
        return False
    token = answer.raise_for_status().json()["access_token"]
    gateway.headers["Authorization"] = f"Bearer {token}"
    return True


def serves(gateway: httpx.Client, stored: Mapping[str, str]) -> bool:
    """Whether the stored account is there and the stored key opens it: a restore may have brought others."""
    if not {"account_id", "api_key"} <= stored.keys():
        return False
    url = gateway.base_url.join(f"/api/v2/accounts/{stored['account_id']}")
    answer = httpx.get(url, headers={"X-API-Key": stored["api_key"]}, timeout=10, trust_env=False)
    return answer.status_code not in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN, httpx.codes.NOT_FOUND)


def register(gateway: httpx.Client, facts: Mapping[str, str], path: Path) -> None:
    person = {"email": facts["email"], "username": "demo", "password": facts["password"]}
    answer = gateway.post("/api/v2/auth/register", json=person)
    if answer.status_code == httpx.codes.CONFLICT:
        raise SystemExit(f'{facts["email"]} has another password here: write {{"password": "…"}} into {path}')
    check("/api/v2/auth/register", answer)


def post(gateway: httpx.Client, path: str, body: Mapping[str, str]) -> dict[str, str]:
    answer = gateway.post(path, json=body)
    check(path, answer)
    made: dict[str, str] = answer.json()
    return made


def check(path: str, answer: httpx.Response) -> None:
    if answer.is_error:
        raise SystemExit(f"the demo user could not be made: POST {path} answered {answer.status_code} {answer.text}")


def write_secret(path: Path, facts: Mapping[str, str]) -> None:
    kept.keep(path, json.dumps(facts, indent=2) + "\n")


def introduce(instance: Instance, facts: Mapping[str, str], feed: str) -> str:
    return f"""
  API            {facts["gateway_url"]}/docs
  stream         {facts["stream_url"]}
  webhooks       {facts["signals_url"]}/api/v2/webhooks
  market data    {PRICES[feed]}
  demo login     {facts["email"]}  {facts["password"]}
  all of it      {instance.demo_file}

  Try next       make demo      an alert's way to an order, a fill, a position and its stop-loss
                 make status    what runs where
                 make logs      what it says (SERVICE=gateway for one)
                 make bench     how fast it is
                 make down      stop it all
"""
