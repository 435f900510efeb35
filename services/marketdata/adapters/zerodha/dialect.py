"""How to talk to Kite's ticker: at most 3 connections for an API key, 3,000 instruments each."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import urlencode

import orjson
from pydantic import BaseModel, ValidationError

from services.marketdata.adapters.live.dialect import CredentialsMissing, Packet, TickerError, Token
from services.marketdata.adapters.zerodha.packets import read_frame

ADDRESS = "wss://ws.kite.trade"
MODE = "full"


class Credentials(BaseModel):
    """What the day's login gave: `{"api_key": "…", "access_token": "…"}`. The token ends every morning at six."""

    api_key: str
    access_token: str


class KiteDialect:
    name = "zerodha"
    most_tokens = 3_000
    silent_after_s = 5.0
    """Kite sends a heartbeat every second."""

    def __init__(self, credentials: Path, address: str = ADDRESS) -> None:
        self._credentials = credentials
        self._address = address

    def address(self) -> str:
        try:
            found = Credentials.model_validate_json(self._credentials.read_bytes())
        except (OSError, ValidationError) as error:
            raise CredentialsMissing(
                f"{self._credentials} must hold a JSON object with api_key and access_token"
            ) from error
        return f"{self._address}?{urlencode(found.model_dump())}"

    def subscribe(self, tokens: Sequence[Token]) -> Iterable[str]:
        """In full mode: depth, open interest and the exchange's time come with nothing less."""
        yield _said("subscribe", list(tokens))
        yield _said("mode", [MODE, list(tokens)])

    def unsubscribe(self, tokens: Sequence[Token]) -> Iterable[str]:
        yield _said("unsubscribe", list(tokens))

    def read(self, frame: bytes | str) -> Sequence[Packet]:
        if isinstance(frame, bytes):
            return read_frame(frame)
        said = orjson.loads(frame)
        if said.get("type") == "error":
            raise TickerError(f"the ticker says: {said.get('data')}")
        return ()


def _said(action: str, value: Sequence[object]) -> str:
    return orjson.dumps({"a": action, "v": value}).decode()
