import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from libs.common.market_days import MarketDaysSettings
from libs.common.messaging.entry import Refused, knock, of_aiokafka, of_librdkafka
from libs.common.settings import CommonSettings, KafkaSettings, SettingsError, load, service_settings
from tests.common.secured import make_certificates


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


@pytest.fixture
def kafka(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., KafkaSettings]:
    """As read with these variables, beside the certificates of a test's Kafka."""
    make_certificates(tmp_path)
    monkeypatch.chdir(tmp_path)

    def read(**variables: str) -> KafkaSettings:
        for name, value in {"KAFKA_BOOTSTRAP": "kafka:9092", **variables}.items():
            monkeypatch.setenv(name, value)
        return load(KafkaSettings)

    return read


SASL = {"KAFKA_SASL_MECHANISM": "PLAIN", "KAFKA_SASL_USERNAME": "platform", "KAFKA_SASL_PASSWORD": "s3cret"}
CLIENT = {"KAFKA_SSL_CERTIFICATE_FILE": "client.pem", "KAFKA_SSL_KEY_FILE": "client.key"}


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        (
            {"KAFKA_SECURITY_PROTOCOL": "TLS"},
            "KAFKA_SECURITY_PROTOCOL: Input should be 'PLAINTEXT', 'SSL', 'SASL_PLAIN",
        ),
        ({"KAFKA_SECURITY_PROTOCOL": "SASL_SSL"}, "KAFKA_SASL_MECHANISM: .*SASL_SSL needs it: PLAIN, SCRAM-SHA-256 or"),
        ({"KAFKA_SECURITY_PROTOCOL": "SASL_SSL", **SASL, "KAFKA_SASL_USERNAME": ""}, "KAFKA_SASL_USERNAME: .*needs it"),
        ({"KAFKA_SECURITY_PROTOCOL": "SASL_SSL", **SASL, "KAFKA_SASL_PASSWORD": ""}, "KAFKA_SASL_PASSWORD: .*needs it"),
        (
            {"KAFKA_SECURITY_PROTOCOL": "SASL_SSL", **SASL, "KAFKA_SASL_MECHANISM": "GSSAPI"},
            "KAFKA_SASL_MECHANISM: Input",
        ),
        (SASL, "KAFKA_SASL_PASSWORD: .*=PLAINTEXT sends no name and no password: say SASL_SSL or SASL_PLAINTEXT there"),
        ({"KAFKA_SECURITY_PROTOCOL": "SSL", **SASL}, "KAFKA_SASL_USERNAME: .*=SSL sends no .*: say SASL_SSL there"),
        ({"KAFKA_SSL_CA_FILE": "authority.pem"}, "KAFKA_SSL_CA_FILE: .*=PLAINTEXT is without TLS: say SSL or SASL_SSL"),
        ({"KAFKA_SECURITY_PROTOCOL": "SSL", "KAFKA_SSL_CA_FILE": "none.pem"}, "KAFKA_SSL_CA_FILE: .*no file none.pem"),
        (
            {"KAFKA_SECURITY_PROTOCOL": "SSL", "KAFKA_SSL_CA_FILE": "client.key"},
            "KAFKA_SSL_CA_FILE: .*no certificate as",
        ),
        ({"KAFKA_SECURITY_PROTOCOL": "SSL", "KAFKA_SSL_CA_FILE": "."}, "KAFKA_SSL_CA_FILE: .*no certificate as PEM"),
        (
            {"KAFKA_SECURITY_PROTOCOL": "SSL", **CLIENT, "KAFKA_SSL_KEY_FILE": ""},
            "KAFKA_SSL_KEY_FILE: .*it and KAFKA_SSL_CERTIFICATE_FILE go together",
        ),
        (
            {"KAFKA_SECURITY_PROTOCOL": "SSL", **CLIENT, "KAFKA_SSL_KEY_FILE": "server.pem"},
            "KAFKA_SSL_KEY_FILE: .*server.pem is no unencrypted PEM key of the certificate in client.pem",
        ),
        (
            {"KAFKA_SECURITY_PROTOCOL": "SSL", **CLIENT, "KAFKA_SSL_KEY_FILE": "locked.key"},
            "KAFKA_SSL_KEY_FILE: .*locked.key is no unencrypted PEM key",
        ),
    ],
)
def test_a_way_into_kafka_that_makes_no_sense_stops_the_start_with_what_to_write_and_without_the_password(
    variables: dict[str, str], said: str, kafka: Callable[..., KafkaSettings]
) -> None:
    with pytest.raises(SettingsError, match=said) as stopped:
        kafka(**variables)
    assert "s3cret" not in str(stopped.value)
    assert "\n" not in str(stopped.value)


def test_by_itself_kafka_lets_in_everybody_and_neither_library_is_told_more(
    kafka: Callable[..., KafkaSettings],
) -> None:
    """Compose passes empty texts."""
    given = kafka(KAFKA_SASL_MECHANISM="", KAFKA_SASL_USERNAME="", KAFKA_SASL_PASSWORD="", KAFKA_SSL_CA_FILE="")
    assert of_librdkafka(given) == {"bootstrap.servers": "kafka:9092"}
    assert of_aiokafka(given) == {
        "bootstrap_servers": "kafka:9092",
        "security_protocol": "PLAINTEXT",
        "ssl_context": None,
    }


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
@pytest.mark.parametrize("protocol", ["SASL_SSL", "SASL_PLAINTEXT"])
def test_both_libraries_are_told_the_same_of_a_kafka_that_asks_for_a_password(
    protocol: str, mechanism: str, kafka: Callable[..., KafkaSettings]
) -> None:
    files = {"KAFKA_SSL_CA_FILE": "authority.pem"} if protocol == "SASL_SSL" else {}
    given = kafka(KAFKA_SECURITY_PROTOCOL=protocol, **SASL | files | {"KAFKA_SASL_MECHANISM": mechanism})
    assert of_librdkafka(given) == {
        "bootstrap.servers": "kafka:9092",
        "security.protocol": protocol,
        "sasl.mechanism": mechanism,
        "sasl.username": "platform",
        "sasl.password": "s3cret",
        **({"ssl.ca.location": "authority.pem"} if files else {}),
    }
    told = of_aiokafka(given)
    tls = told.pop("ssl_context")
    assert told == {
        "bootstrap_servers": "kafka:9092",
        "security_protocol": protocol,
        "sasl_mechanism": mechanism,
        "sasl_plain_username": "platform",
        "sasl_plain_password": "s3cret",
    }
    assert (tls is not None) == (protocol == "SASL_SSL")
    if tls:
        assert [dict(pair for [pair] in each["issuer"])["commonName"] for each in tls.get_ca_certs()] == ["authority"]
        assert tls.check_hostname
        assert tls.verify_mode is ssl.CERT_REQUIRED


def test_a_certificate_of_ours_is_given_to_both_libraries(kafka: Callable[..., KafkaSettings]) -> None:
    given = kafka(KAFKA_SECURITY_PROTOCOL="SSL", **CLIENT)
    assert of_librdkafka(given) == {
        "bootstrap.servers": "kafka:9092",
        "security.protocol": "SSL",
        "ssl.certificate.location": "client.pem",
        "ssl.key.location": "client.key",
    }
    assert of_aiokafka(given)["ssl_context"].check_hostname


def test_the_password_is_in_no_text_of_the_settings(kafka: Callable[..., KafkaSettings]) -> None:
    """What is logged of them, or shown with a traceback."""
    given = kafka(KAFKA_SECURITY_PROTOCOL="SASL_PLAINTEXT", **SASL)
    assert "s3cret" not in f"{given!r} {given} {given.model_dump()} {given.model_dump_json()}"


async def test_an_address_of_kafka_that_cannot_be_read_is_refused_with_how_to_write_it() -> None:
    with pytest.raises(Refused) as refused:
        await knock(KafkaSettings(kafka_bootstrap="kafka:port"))
    assert "HOST:PORT" in refused.value.remedy
