"""What needs more than one topic, or the tables: a module per subject."""
