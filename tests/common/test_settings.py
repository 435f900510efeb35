import pytest

from libs.common.market_days import MarketDaysSettings
from libs.common.settings import CommonSettings, SettingsError, load, service_settings


def test_a_missing_setting_stops_the_start_with_one_line_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KAFKA_BOOTSTRAP", raising=False)
    with pytest.raises(SettingsError) as stopped:
        load(CommonSettings)
    assert "KAFKA_BOOTSTRAP" in str(stopped.value)
    assert "\n" not in str(stopped.value)


def test_an_empty_secret_that_would_open_the_internal_routes_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTERNAL_TOKEN", "")
    with pytest.raises(SettingsError, match="INTERNAL_TOKEN"):
        load(CommonSettings)


def test_a_malformed_port_is_named_with_its_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RISK_PORT", "eighty")
    with pytest.raises(SettingsError, match="RISK_PORT"):
        service_settings("risk")


@pytest.mark.parametrize("wrong", ["nonsense", "127.0.0.1, edge", "10.9.1.1/16", "*", "127.0.0.1,"])
def test_a_proxy_that_is_no_address_stops_the_start_with_what_to_write(
    wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It started, and believed nobody: all clients behind the edge counted as one, at the first limit by address."""
    monkeypatch.setenv("RISK_TRUSTED_PROXIES", wrong)
    with pytest.raises(SettingsError, match=r"RISK_TRUSTED_PROXIES: .*; write the edge's, such as 127") as stopped:
        service_settings("risk")
    assert "\n" not in str(stopped.value)


@pytest.mark.parametrize("password", ["s3/cret", "12/s3cret", "s3#cret", "s3?cret", "s3@cret", "s3[cret"])
def test_an_address_that_its_password_breaks_stops_the_start_with_what_to_write_and_without_the_password(
    password: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log had the password up to the sign, as what is no number; with an @ PostgreSQL was waited for, for ever."""
    monkeypatch.setenv("RISK_DATABASE_URL", f"postgresql://risk:{password}@127.0.0.1:5432/openalgo")
    monkeypatch.setenv("RISK_PORT", "8003")
    with pytest.raises(SettingsError, match=r"RISK_DATABASE_URL: .*, and in a password %2F for /") as stopped:
        service_settings("risk")
    assert "s3" not in str(stopped.value)
    assert "\n" not in str(stopped.value)


@pytest.mark.parametrize(
    "wrong", ["", "127.0.0.1:5432/openalgo", "mysql://risk@127.0.0.1/x", "postgresql://a:b@c:70000/d"]
)
def test_an_address_of_no_postgresql_stops_the_start(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without one the service went to whatever PostgreSQL the machine had."""
    monkeypatch.setenv("RISK_DATABASE_URL", wrong)
    monkeypatch.setenv("RISK_PORT", "8003")
    with pytest.raises(SettingsError, match="RISK_DATABASE_URL"):
        service_settings("risk")


@pytest.mark.parametrize("right", ["postgresql://away/openalgo", "postgres://a:p%2Fw@[::1]:5432/b?sslmode=require"])
def test_an_address_of_postgresql_is_taken_as_it_is(right: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RISK_DATABASE_URL", right)
    monkeypatch.setenv("RISK_PORT", "8003")
    assert service_settings("risk").database_url == right


@pytest.mark.parametrize("right", ["", "127.0.0.1", "127.0.0.1, ::1", "172.30.77.0/24,fd00::/8"])
def test_proxies_are_addresses_and_networks_or_nobody(right: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RISK_DATABASE_URL", "postgresql://away/openalgo")
    monkeypatch.setenv("RISK_PORT", "8003")
    monkeypatch.setenv("RISK_TRUSTED_PROXIES", right)
    assert service_settings("risk").trusted_proxies == right


def test_a_variable_that_is_no_json_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARKET_DAYS", '{"holidays": [')
    with pytest.raises(SettingsError, match="MARKET_DAYS: no JSON") as stopped:
        load(MarketDaysSettings)
    assert "\n" not in str(stopped.value)


@pytest.mark.parametrize("wrong", ["VERBOSE", "info", ""])
def test_a_log_level_that_there_is_not_is_named(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOG_LEVEL", wrong)
    with pytest.raises(SettingsError, match="LOG_LEVEL: Input should be 'DEBUG', 'INFO', 'WARNING' or 'ERROR'"):
        load(CommonSettings)
