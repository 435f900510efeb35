"""The whole story of an alert, from TradingView's POST to the stop-loss exit, told as it happens."""
