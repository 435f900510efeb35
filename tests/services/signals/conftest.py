"""The secret that webhook addresses derive from, as the tests know it."""

import os

from libs.common.security import WebhookSecrets

SECRET = os.environ.setdefault("SIGNALS_WEBHOOK_SECRET", "a secret for tests alone")
SECRETS = WebhookSecrets(SECRET)
