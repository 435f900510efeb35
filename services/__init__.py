"""The services, each a process of its own: this is what any of them loads first."""

import gc

# What a service loads lives as long as its process, and cycles are rare in our own code: the garbage collector looks
# for them less often. Measured: 5 to 10 % of the CPU of a start, and later a quarter of marketdata's.
gc.set_threshold(20_000, 20, 20)
