"""What the effects keep: calls to brokers, the orders watched there, who works for which account, and credentials."""
