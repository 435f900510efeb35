"""Market data: owns the contract master, and turns one feed into ticks, quotes, candles and history."""
