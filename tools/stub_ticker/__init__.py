"""A broker's ticker for tests and trials: Kite's binary frames over a WebSocket on this machine."""
