"""How fast the running stack is, and what an order costs: an open-loop load over public HTTP and WebSocket."""
