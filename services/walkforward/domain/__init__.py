"""The rules of the venue: markets, orders and how they meet. Pure: no clock, no I/O, no await."""
