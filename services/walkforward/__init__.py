"""Walkforward: the paper venue, which stands where a broker would and matches orders against live ticks."""
