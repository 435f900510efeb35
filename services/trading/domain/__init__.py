"""The rules of order management: pure, a state and a message in, a state and events out."""
