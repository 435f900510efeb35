from libs.common.contracts.ids import SignalGroupId
from libs.common.ids import new_id
from libs.common.security import WebhookSecrets

SECRETS = WebhookSecrets("the server's secret")
GROUP = SignalGroupId(new_id())


def test_a_webhook_url_leads_back_to_its_group_and_verifies() -> None:
    url_id = SECRETS.url_id(GROUP, 0)
    assert SECRETS.parse(url_id) == GROUP
    assert SECRETS.verify_url_id(url_id, GROUP, 0)


def test_a_guessed_or_altered_url_does_not_verify() -> None:
    url_id = SECRETS.url_id(GROUP, 0)
    altered = url_id[:-2] + ("AA" if url_id[-2:] != "AA" else "BB")
    assert not SECRETS.verify_url_id(altered, GROUP, 0)
    assert SECRETS.parse("not-an-id") is None
    assert SECRETS.parse("é") is None


def test_rotation_ends_the_old_url_token_and_key() -> None:
    assert not SECRETS.verify_url_id(SECRETS.url_id(GROUP, 0), GROUP, 1)
    assert not SECRETS.verify_token(SECRETS.token(GROUP, 0), GROUP, 1)
    assert SECRETS.signing_key(GROUP, 0) != SECRETS.signing_key(GROUP, 1)


def test_another_server_secret_makes_other_secrets() -> None:
    assert not WebhookSecrets("another").verify_token(SECRETS.token(GROUP, 0), GROUP, 0)


def test_url_token_and_key_are_three_different_secrets() -> None:
    made = {SECRETS.url_id(GROUP, 0), SECRETS.token(GROUP, 0), SECRETS.signing_key(GROUP, 0).decode()}
    assert len(made) == 3
