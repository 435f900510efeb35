"""Accounts, signal groups, algos."""

from datetime import date
from decimal import Decimal
from typing import Annotated, Any, ClassVar
from uuid import UUID

from pydantic import BeforeValidator, Field

from libs.common.contracts.algos import MOST_LEGS, MOST_STOCKS, AlgoLeg, LinkedAccount, SignalMapping
from libs.common.contracts.enums import Broker, EntryLegs, LegRefusedRule, Product, RepeatRule, SignalSource
from services.gateway.api.models.common import Answer, Body, Money, Name, SavedAt, Whole, no_truth


class AccountBody(Body):
    name: Name
    broker: Broker = Broker.PAPER
    labels: list[Name] = Field(default=[], max_length=20)
    is_master: bool = False
    active: bool = True
    opening_balance: Annotated[Money, Field(ge=0)] = Decimal("10000000")


class AccountChange(Body):
    """Fields left out stay. With `version` the change is refused when somebody else changed the account meanwhile."""

    name: Name | None = None
    labels: list[Name] | None = Field(default=None, max_length=20)
    is_master: bool | None = None
    active: bool | None = None
    opening_balance: Annotated[Money, Field(ge=0)] | None = None
    version: int | None = None


class AccountView(AccountBody):
    account_id: UUID
    user_id: UUID
    version: int
    updated_at: SavedAt = None


class SignalGroupBody(Body):
    name: Name
    source: SignalSource = SignalSource.TRADINGVIEW
    max_signals_per_day: Whole = Field(default=100, ge=1, le=10_000)
    expiry_date: date | None = None
    market_hours_only: bool = False
    duplicate_window_s: Whole = Field(default=0, ge=0, le=86_400)
    max_per_minute: Whole = Field(default=60, ge=1, le=600)
    signature_required: bool = False
    active: bool = True


class SignalGroupChange(Body):
    name: Name | None = None
    max_signals_per_day: Whole | None = Field(default=None, ge=1, le=10_000)
    expiry_date: date | None = None
    market_hours_only: bool | None = None
    duplicate_window_s: Whole | None = Field(default=None, ge=0, le=86_400)
    max_per_minute: Whole | None = Field(default=None, ge=1, le=600)
    signature_required: bool | None = None
    active: bool | None = None
    version: int | None = None


class Webhook(Answer):
    """Everything to paste into TradingView. The secrets derive from the server's; nobody stores them."""

    webhook_url: str
    tradingview_url: str
    token: str
    signing_key: str
    payloads: dict[str, dict[str, Any]]


class SignalGroupView(SignalGroupBody):
    group_id: UUID
    user_id: UUID
    rotation: int
    version: int
    updated_at: SavedAt = None


class SignalGroupWithWebhook(SignalGroupView):
    webhook: Webhook


def _numbers_are_numbers(leg: object) -> object:
    if isinstance(leg, dict):
        for name in ("lots", "strike_offset"):
            no_truth(leg.get(name), f"{name}: ")
    return leg


_LEGS = f"{MOST_LEGS} at most that trade together; {MOST_STOCKS} shares of which an alert names some"
Leg = Annotated[AlgoLeg, BeforeValidator(_numbers_are_numbers)]


class AlgoBody(Body):
    MOST_BYTES: ClassVar[int] = 131_072

    name: Name
    legs: list[Leg] = Field(min_length=1, max_length=MOST_STOCKS, description=_LEGS)
    product: Product
    accounts: list[LinkedAccount] = Field(min_length=1, max_length=200)
    mappings: list[SignalMapping] = Field(default=[], max_length=50)
    entry_legs: EntryLegs = EntryLegs.ALL
    on_repeat: RepeatRule = RepeatRule.IGNORE
    on_leg_refused: LegRefusedRule = LegRefusedRule.CLOSE_OTHERS
    active: bool = True


class AlgoChange(Body):
    MOST_BYTES: ClassVar[int] = AlgoBody.MOST_BYTES

    name: Name | None = None
    legs: list[Leg] | None = Field(default=None, min_length=1, max_length=MOST_STOCKS, description=_LEGS)
    product: Product | None = None
    accounts: list[LinkedAccount] | None = Field(default=None, min_length=1, max_length=200)
    mappings: list[SignalMapping] | None = Field(default=None, max_length=50)
    entry_legs: EntryLegs | None = None
    on_repeat: RepeatRule | None = None
    on_leg_refused: LegRefusedRule | None = None
    active: bool | None = None
    version: int | None = None


class AlgoView(AlgoBody):
    algo_id: UUID
    user_id: UUID
    version: int
    updated_at: SavedAt = None


class WebhookTrial(Answer):
    """What would become of the alert now: its `fate` as in the log, and what was understood if it would be accepted."""

    fate: str
    reason: str
    field: str | None
    signal: dict[str, Any] | None
