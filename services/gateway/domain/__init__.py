"""The gateway's pure rules: roles, idempotency, cursors, what is shown."""
