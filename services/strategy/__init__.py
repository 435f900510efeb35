"""Strategy: owns the algos, and turns signals into the orders and square-offs that they ask for."""
