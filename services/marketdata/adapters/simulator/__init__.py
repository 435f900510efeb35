"""A market that is made up: a generated contract universe and seeded random prices, labelled SIMULATED."""

from services.marketdata.adapters.simulator.feed import SimulatedFeed

__all__ = ["SimulatedFeed"]
