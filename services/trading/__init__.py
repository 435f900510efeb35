"""Trading: owns accounts, orders, positions and funds; speaks to venues, squares off, stops all in a panic."""
