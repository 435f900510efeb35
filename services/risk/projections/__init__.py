"""Views of what was committed: the watch over MTM in memory, and the tables themselves when they are built anew."""
