"""Which contract a leg means, what an algo does about a signal, and what it holds. Pure."""
