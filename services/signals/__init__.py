"""Signals: takes alerts from outside, keeps every arrival with its fate, and passes on those that may trade."""
