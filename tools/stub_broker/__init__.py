"""A broker that speaks Kite's order API over HTTP and misbehaves on demand, reproducibly: python -m tools.stub_broker.

It remembers every order it took, by tag: what a test needs to prove that no wish became two orders.
"""
