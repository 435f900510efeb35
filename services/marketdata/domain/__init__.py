"""The rules of market data: symbols, contract rules, pricing, candles. Pure: no clock, no I/O, no await."""
