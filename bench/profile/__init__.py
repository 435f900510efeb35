"""Where an order's CPU goes: py-spy's samples of each process of the order path, folded into stages of its road."""
