"""What an operator may set. Environment variables are the field names in capitals after `RISK_`."""

from datetime import timedelta
from decimal import Decimal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.risk.domain.margin import MarginRates
from services.risk.domain.rules import Policy


class RiskSettings(BaseSettings):
    """Margin rates are fractions of the order's value; a bought option costs its premium."""

    model_config = SettingsConfigDict(env_prefix="RISK_", frozen=True, extra="ignore")

    margin_equity_delivery: Decimal = Field(Decimal("1.00"), gt=0)
    """Equity, CNC."""
    margin_equity_intraday: Decimal = Field(Decimal("0.20"), gt=0)
    """Equity, MIS."""
    margin_future_carried: Decimal = Field(Decimal("0.12"), gt=0)
    """Futures, NRML."""
    margin_future_intraday: Decimal = Field(Decimal("0.06"), gt=0)
    """Futures, MIS."""
    margin_option_sold_carried: Decimal = Field(Decimal("0.12"), gt=0)
    """Sold options, NRML: of the spot's price, or the strike while no spot price is known."""
    margin_option_sold_intraday: Decimal = Field(Decimal("0.06"), gt=0)
    """Sold options, MIS."""
    reference_price_max_age_s: float = Field(15.0, gt=0)
    """An older price does not stand for the market: no market order is cleared on it, no stop-loss fires."""

    intraday_cutoff_minutes: float = Field(10.0, ge=0)
    """So long before its market closes MIS of paper accounts is squared off, and no more of it is opened."""

    @property
    def policy(self) -> Policy:
        rates = MarginRates(
            equity_delivery=self.margin_equity_delivery,
            equity_intraday=self.margin_equity_intraday,
            future_carried=self.margin_future_carried,
            future_intraday=self.margin_future_intraday,
            option_sold_carried=self.margin_option_sold_carried,
            option_sold_intraday=self.margin_option_sold_intraday,
        )
        return Policy(
            rates,
            timedelta(seconds=self.reference_price_max_age_s),
            timedelta(minutes=self.intraday_cutoff_minutes),
        )
