"""The rules of risk. Pure: same inputs, same answer; no clock, no I/O, no await."""
