"""Everything that the platform keeps, copied at one moment while it runs, and put back."""
