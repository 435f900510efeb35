"""How to talk to Kite's ticker: at most 3 connections for an API key, 3,000 instruments each."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlencode

import orjson
from pydantic import BaseModel, ValidationError

from services.marketdata.adapters.live.dialect import CredentialsMissing, Packet, Question, TickerError, Token
from services.marketdata.adapters.zerodha.packets import read_frame
from services.marketdata.adapters.zerodha.quotes import read_quotes

ADDRESS = "wss://ws.kite.trade"
QUOTES = "https://api.kite.trade"
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
    most_quotes = 500
    ask_every_s = 1.0

    def __init__(self, credentials: Path, address: str = ADDRESS, quotes: str = QUOTES) -> None:
        self._credentials = credentials
        self._address = address
        self._quotes = quotes

    def address(self) -> str:
        return f"{self._address}?{urlencode(self._login().model_dump())}"

    def _login(self) -> Credentials:
        try:
            return Credentials.model_validate_json(self._credentials.read_bytes())
        except (OSError, ValidationError) as error:
            raise CredentialsMissing(
                f"{self._credentials} must hold a JSON object with api_key and access_token"
            ) from error

    def subscribe(self, tokens: Sequence[Token]) -> Iterable[str]:
        """In full mode: depth, open interest and the exchange's time come with nothing less."""
        yield _said("subscribe", list(tokens))
        yield _said("mode", [MODE, list(tokens)])

    def unsubscribe(self, tokens: Sequence[Token]) -> Iterable[str]:
        yield _said("unsubscribe", list(tokens))

    def read(self, frame: bytes | str) -> Sequence[Packet]:
        if isinstance(frame, bytes):
            return read_frame(frame)
        try:
            said = orjson.loads(frame)
        except orjson.JSONDecodeError as error:
            raise TickerError(f"this is no word of Kite's ticker: {frame[:200]!r}") from error
        if not isinstance(said, dict):
            raise TickerError(f"this is no word of Kite's ticker: {frame[:200]!r}")
        if said.get("type") == "error":
            raise TickerError(f"the ticker says: {said.get('data')}")
        return ()

    def ask_quotes(self, tokens: Sequence[Token]) -> Question:
        login = self._login()
        headers = {"X-Kite-Version": "3", "Authorization": f"token {login.api_key}:{login.access_token}"}
        return Question(f"{self._quotes}/quote", [("i", str(token)) for token in tokens], headers)

    def read_quotes(self, status: int, body: bytes) -> Mapping[str, Packet]:
        return read_quotes(status, body)


def _said(action: str, value: Sequence[object]) -> str:
    return orjson.dumps({"a": action, "v": value}).decode()
