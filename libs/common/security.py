"""Secrets that derive instead of being stored."""

import base64
import hashlib
import hmac
from uuid import UUID

from libs.common.contracts.ids import SignalGroupId

_MAC_BYTES = 16


class WebhookSecrets:
    """A signal group's URL id, token and signing key: HMACs of its id and rotation under the server's secret.

    Gateway shows them, signals checks them, nobody stores or sends them. A new rotation ends the old ones.
    """

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()

    def url_id(self, group_id: SignalGroupId, rotation: int) -> str:
        """The unguessable last part of the webhook's URL: the group's id and a MAC, base64url."""
        return _text(group_id.bytes + self._mac("url", group_id, rotation)[:_MAC_BYTES])

    @staticmethod
    def parse(url_id: str) -> SignalGroupId | None:
        """The group that a URL id speaks of, not yet verified; None when it cannot be one."""
        try:
            raw = base64.urlsafe_b64decode(url_id + "=" * (-len(url_id) % 4))
        except ValueError:
            return None
        return SignalGroupId(UUID(bytes=raw[:16])) if len(raw) == 16 + _MAC_BYTES else None

    def verify_url_id(self, url_id: str, group_id: SignalGroupId, rotation: int) -> bool:
        return hmac.compare_digest(url_id.encode(), self.url_id(group_id, rotation).encode())

    def token(self, group_id: SignalGroupId, rotation: int) -> str:
        return _text(self._mac("token", group_id, rotation)[:24])

    def verify_token(self, token: str, group_id: SignalGroupId, rotation: int) -> bool:
        return hmac.compare_digest(token.encode(), self.token(group_id, rotation).encode())

    def signing_key(self, group_id: SignalGroupId, rotation: int) -> bytes:
        """The key of the optional body signature (HMAC-SHA256), as the ASCII text that its user pastes."""
        return _text(self._mac("signature", group_id, rotation)).encode()

    def _mac(self, use: str, group_id: SignalGroupId, rotation: int) -> bytes:
        message = f"{use}\x1f{group_id}\x1f{rotation}".encode()
        return hmac.digest(self._secret, message, hashlib.sha256)


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
