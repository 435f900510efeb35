"""A broker's ticker for tests and trials: Kite's frames over a WebSocket, its quotes over HTTP, on this machine."""
