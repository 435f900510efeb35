"""The shell: load, decide, save, say. No rule lives here."""
