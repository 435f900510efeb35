"""The runtime that carries messages: at-least-once on the wire, exactly-once in effect."""
