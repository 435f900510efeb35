"""Programs for people, written against the public API only: nothing here knows the inside of a service."""
