"""What clients send and are sent; the source of the OpenAPI page."""

from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, Generic, TypeVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict, EmailStr, Field, StringConstraints, model_validator

from libs.common.contracts.algos import AlgoLeg, LinkedAccount, SignalMapping
from libs.common.contracts.enums import (
    Broker,
    Exchange,
    FeedSource,
    InstrumentKind,
    OptionType,
    OrderPurpose,
    OrderStatus,
    OrderType,
    Product,
    RepeatRule,
    RiskLevel,
    Side,
    SignalSource,
    Validity,
)
from services.gateway.domain.roles import Role, Scope
from services.gateway.domain.symbols import instrument_of

T = TypeVar("T")
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100)]
Password = Annotated[str, StringConstraints(min_length=10, max_length=128)]
Money = Annotated[Decimal, Field(max_digits=18, decimal_places=4)]
Price = Annotated[Decimal, Field(gt=0, max_digits=14, decimal_places=4)]
Quantity = Annotated[int, Field(gt=0, le=10_000_000)]


class Body(BaseModel):
    """A request's body: what it does not know it refuses."""

    model_config = ConfigDict(extra="forbid")


class ProblemDetails(BaseModel):
    """RFC 9457. `code` is a stable word for programs, `detail` a sentence for people."""

    type: str = Field(examples=["urn:openalgo:problem:not_found"])
    title: str = Field(examples=["Not Found"])
    status: int = Field(examples=[404])
    code: str = Field(examples=["not_found"])
    detail: str = Field(examples=["you have no account 01976f3e-2d4b-7c3a-9f53-3b1c6f0d9a11"])


class Pending(BaseModel):
    """Taken, outcome open: ask `status_url`."""

    id: UUID
    status: str
    status_url: str


class Page(BaseModel, Generic[T]):
    """`next_cursor` asks for the page after this one; null on the last."""

    data: list[T]
    next_cursor: str | None


class Listing(BaseModel, Generic[T]):
    data: list[T]


class Registration(Body):
    email: EmailStr
    username: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{3,40}$")]
    password: Password


class Login(Body):
    email: EmailStr
    password: Annotated[str, StringConstraints(max_length=128)]


class Refresh(Body):
    refresh_token: Annotated[str, StringConstraints(max_length=200)]


class Tokens(BaseModel):
    access_token: str
    refresh_token: str
    token_type: str = Field(examples=["Bearer"])
    expires_in: int


class Profile(BaseModel):
    user_id: UUID
    email: str
    username: str
    role: Role
    active: bool
    created_at: datetime
    updated_at: datetime


class ProfileChange(Body):
    email: EmailStr | None = None
    username: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{3,40}$")] | None = None


class PasswordChange(Body):
    current_password: Annotated[str, StringConstraints(max_length=128)]
    new_password: Password


class KeyRequest(Body):
    name: Name
    scopes: list[Scope] = Field(default=[Scope.READ, Scope.TRADE], min_length=1)


class KeyView(BaseModel):
    key_id: UUID
    name: str
    prefix: str
    scopes: list[Scope]
    created_at: datetime


class NewKey(KeyView):
    api_key: str = Field(description="Shown this once")


class UserChange(Body):
    role: Role | None = None
    active: bool | None = None


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


class PlaceOrder(Body):
    """`instrument` is `NSE:SBIN`; or send `symbol` and `exchange`. Market orders carry no price."""

    account_id: UUID
    instrument: Annotated[str, StringConstraints(max_length=80)] | None = None
    symbol: Annotated[str, StringConstraints(max_length=60)] | None = None
    exchange: Exchange | None = None
    side: Side
    quantity: Quantity
    order_type: OrderType = OrderType.MARKET
    product: Product
    validity: Validity = Validity.DAY
    price: Price | None = None
    trigger_price: Price | None = None
    strategy_id: UUID | None = None
    purpose: OrderPurpose = Field(
        default=OrderPurpose.ENTRY, description="EXIT passes limits, but only as far as it reduces a position"
    )

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "account_id": "01976f3e-2d4b-7c3a-9f53-3b1c6f0d9a11",
                    "instrument": "NSE:SBIN",
                    "side": "BUY",
                    "quantity": 10,
                    "order_type": "LIMIT",
                    "product": "MIS",
                    "price": "812.50",
                }
            ]
        },
    )

    @model_validator(mode="after")
    def fit_together(self) -> "PlaceOrder":
        name = self.instrument or self.symbol or ""
        found = instrument_of(name, self.exchange)
        if found is None:
            raise ValueError(f"instrument {name!r}: write NSE:SBIN, or a symbol and its exchange")
        self.instrument = found
        limit = self.order_type in (OrderType.LIMIT, OrderType.SL)
        stop = self.order_type in (OrderType.SL, OrderType.SL_M)
        if limit != (self.price is not None):
            raise ValueError(f"a {self.order_type} order {'needs a' if limit else 'takes no'} price")
        if stop != (self.trigger_price is not None):
            raise ValueError(f"a {self.order_type} order {'needs a' if stop else 'takes no'} trigger_price")
        if self.purpose is OrderPurpose.SQUARE_OFF:
            raise ValueError("square-offs are made by positions/close")
        return self


class ModifyOrder(Body):
    """Fields left out stay; `quantity` is the new total."""

    order_id: UUID
    quantity: Quantity | None = None
    order_type: OrderType | None = None
    price: Price | None = None
    trigger_price: Price | None = None

    @model_validator(mode="after")
    def changes_something(self) -> "ModifyOrder":
        if not self.model_fields_set - {"order_id"}:
            raise ValueError("name at least one field to change")
        return self


class CancelOrder(Body):
    order_id: UUID


class CancelAll(Body):
    """Of one account, or of all of yours; of one strategy or instrument, or of all."""

    account_id: UUID | None = None
    strategy_id: UUID | None = None
    instrument: Annotated[str, StringConstraints(max_length=80)] | None = None


class OrderView(BaseModel):
    order_id: UUID
    account_id: UUID
    strategy_id: UUID | None
    instrument: str
    side: Side
    quantity: int
    order_type: OrderType
    product: Product
    validity: Validity
    price: Decimal | None
    trigger_price: Decimal | None
    purpose: OrderPurpose
    status: OrderStatus
    filled_quantity: int
    average_price: Decimal | None
    broker_order_id: str | None
    rule: str | None
    reason: str | None
    requested_at: datetime
    updated_at: datetime
    version: int
    seq: int


class OrderProblem(ProblemDetails):
    """An order that we denied (`order_denied`) or the venue rejected (`order_rejected`); it is in the book as such."""

    order_id: UUID
    rule: str | None = None
    limit: str | None = None
    value: str | None = None


class OrderEvent(BaseModel):
    at: datetime
    event: str
    status: OrderStatus
    filled_quantity: int
    reason: str | None = None


class OrderHistory(BaseModel):
    order_id: UUID
    status: OrderStatus
    is_final: bool
    filled_quantity: int
    average_price: Decimal | None
    reason: str | None
    history: list[OrderEvent]


class Cancelling(BaseModel):
    order_ids: list[UUID]
    pending: list[UUID]


class ClosePositions(Body):
    """Either an account's position (`account_id`, `instrument`, `product`) or all that a strategy opened."""

    account_id: UUID | None = None
    instrument: Annotated[str, StringConstraints(max_length=80)] | None = None
    symbol: Annotated[str, StringConstraints(max_length=60)] | None = None
    exchange: Exchange | None = None
    product: Product | None = None
    strategy_id: UUID | None = None

    @model_validator(mode="after")
    def says_what(self) -> "ClosePositions":
        name = self.instrument or self.symbol
        if name is not None:
            self.instrument = instrument_of(name, self.exchange)
            if self.instrument is None:
                raise ValueError(f"instrument {name!r}: write NSE:SBIN, or a symbol and its exchange")
        if self.strategy_id is None and (self.account_id is None or self.instrument is None):
            raise ValueError("name account_id and instrument, or strategy_id")
        return self


class CloseAll(Body):
    account_id: UUID | None = None


class SquareOffView(BaseModel):
    square_off_id: UUID
    account_id: UUID
    status: str = Field(examples=["COMPLETED", "STARTED", "PENDING"])


class PositionView(BaseModel):
    account_id: UUID
    instrument: str
    product: Product
    quantity: int
    average_price: Decimal
    realised_pnl: Decimal
    unrealised_pnl: Decimal
    mtm: Decimal
    value: Decimal
    ltp: Decimal | None
    bought_quantity: int
    sold_quantity: int
    bought_value: Decimal
    sold_value: Decimal
    margin: Decimal
    version: int
    seq: int
    updated_at: datetime


class Pnl(BaseModel):
    realised_pnl: Decimal
    unrealised_pnl: Decimal
    mtm: Decimal
    accounts: list[dict[str, Any]]
    strategies: list[dict[str, Any]]


class FillView(BaseModel):
    fill_id: UUID
    order_id: UUID
    account_id: UUID
    strategy_id: UUID | None
    instrument: str
    side: Side
    product: Product
    quantity: int
    price: Decimal
    broker_fill_id: str
    filled_at: datetime
    seq: int


class FundsView(BaseModel):
    account_id: UUID
    opening_balance: Decimal
    realised_pnl: Decimal
    used_margin: Decimal
    available: Decimal
    updated_at: datetime
    seq: int


class QuoteView(BaseModel):
    """`source` says where the price comes from; `stale` that its feed has stopped repeating it."""

    instrument: str
    at: datetime
    source: FeedSource
    ltp: float
    bid: float
    ask: float
    bid_quantity: int
    ask_quantity: int
    open: float
    high: float
    low: float
    previous_close: float
    volume: int
    oi: int
    age_s: float
    stale: bool


class QuotesWanted(Body):
    symbols: list[Annotated[str, StringConstraints(max_length=80)]] = Field(
        min_length=1, max_length=500, examples=[["NSE:SBIN", "NSE_INDEX:NIFTY"]]
    )


class QuotesFound(BaseModel):
    data: list[QuoteView]
    missing: list[str]


class InstrumentView(BaseModel):
    instrument: str
    exchange: Exchange
    symbol: str
    name: str
    kind: InstrumentKind
    underlying: str | None
    expiry: date | None
    strike: Decimal | None
    option_type: OptionType | None
    lot_size: int
    tick_size: Decimal
    freeze_quantity: int | None
    price_band: Decimal | None
    tradable: bool


class SignalGroupBody(Body):
    name: Name
    source: SignalSource = SignalSource.TRADINGVIEW
    max_signals_per_day: int = Field(default=100, ge=1, le=10_000)
    expiry_date: date | None = None
    market_hours_only: bool = False
    duplicate_window_s: int = Field(default=0, ge=0, le=86_400)
    max_per_minute: int = Field(default=60, ge=1, le=600)
    signature_required: bool = False
    active: bool = True


class SignalGroupChange(Body):
    name: Name | None = None
    max_signals_per_day: int | None = Field(default=None, ge=1, le=10_000)
    expiry_date: date | None = None
    market_hours_only: bool | None = None
    duplicate_window_s: int | None = Field(default=None, ge=0, le=86_400)
    max_per_minute: int | None = Field(default=None, ge=1, le=600)
    signature_required: bool | None = None
    active: bool | None = None
    version: int | None = None


class Webhook(BaseModel):
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


class SignalGroupWithWebhook(SignalGroupView):
    webhook: Webhook


class AlgoBody(Body):
    name: Name
    legs: list[AlgoLeg] = Field(min_length=1, max_length=20)
    product: Product
    accounts: list[LinkedAccount] = Field(min_length=1, max_length=200)
    mappings: list[SignalMapping] = Field(default=[], max_length=50)
    on_repeat: RepeatRule = RepeatRule.IGNORE
    active: bool = True


class AlgoChange(Body):
    name: Name | None = None
    legs: list[AlgoLeg] | None = Field(default=None, min_length=1, max_length=20)
    product: Product | None = None
    accounts: list[LinkedAccount] | None = Field(default=None, min_length=1, max_length=200)
    mappings: list[SignalMapping] | None = Field(default=None, max_length=50)
    on_repeat: RepeatRule | None = None
    active: bool | None = None
    version: int | None = None


class AlgoView(AlgoBody):
    algo_id: UUID
    user_id: UUID
    version: int


class RiskLimitBody(Body):
    """Limits of one scope; what is left out limits nothing. Losses are positive rupees."""

    level: RiskLevel
    account_id: UUID | None = None
    strategy_id: UUID | None = None
    instrument: Annotated[str, StringConstraints(max_length=80)] | None = None
    max_order_value: Annotated[Money, Field(gt=0)] | None = None
    max_open_positions: int | None = Field(default=None, ge=0)
    max_daily_loss: Annotated[Money, Field(gt=0)] | None = None
    stop_loss: Annotated[Money, Field(gt=0)] | None = None
    target: Annotated[Money, Field(gt=0)] | None = None
    trailing_stop: Annotated[Money, Field(gt=0)] | None = None
    identical_order_window_s: int | None = Field(default=None, ge=1, le=86_400)
    active: bool = True

    @model_validator(mode="after")
    def scope_is_whole(self) -> "RiskLimitBody":
        needed = {
            RiskLevel.USER: (),
            RiskLevel.ACCOUNT: ("account_id",),
            RiskLevel.STRATEGY: ("strategy_id",),
            RiskLevel.INSTRUMENT: ("account_id", "instrument"),
        }.get(self.level)
        if needed is None:
            raise ValueError("level ALL has no limits, only a panic")
        for name in ("account_id", "strategy_id", "instrument"):
            if (name in needed) != (getattr(self, name) is not None):
                raise ValueError(f"a limit of level {self.level} {'needs' if name in needed else 'takes no'} {name}")
        if self.instrument is not None:
            self.instrument = instrument_of(self.instrument)
            if self.instrument is None:
                raise ValueError("instrument: write NSE:SBIN")
        return self


class RiskLimitView(RiskLimitBody):
    limit_id: UUID
    user_id: UUID
    version: int


class ExposureView(BaseModel):
    account_id: UUID
    gross_value: Decimal
    net_value: Decimal
    used_margin: Decimal
    realised_pnl: Decimal
    unrealised_pnl: Decimal
    mtm: Decimal
    open_positions: int


class ViolationView(BaseModel):
    event_id: UUID
    type: str
    at: datetime
    event: dict[str, Any]


class PanicBody(Body):
    reason: Annotated[str, StringConstraints(max_length=200)] = "asked for by a person"


class PanicView(BaseModel):
    scope: str
    level: RiskLevel
    epoch: int
    in_force: bool
    panic_id: UUID


PROBLEMS: dict[int | str, dict[str, Any]] = {
    401: {"model": ProblemDetails, "description": "Who are you?"},
    403: {"model": ProblemDetails, "description": "Your role or key may not"},
    404: {"model": ProblemDetails, "description": "You have none of that"},
    409: {"model": ProblemDetails, "description": "It conflicts with the present state, or the key is in flight"},
    422: {"model": ProblemDetails, "description": "Not understood, or refused"},
    503: {"model": ProblemDetails, "description": "A part of the platform is away; nothing was taken"},
}
TAKEN: dict[int | str, dict[str, Any]] = {202: {"model": Pending, "description": "Taken; ask for the outcome"}}
