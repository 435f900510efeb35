"""The paper venue: the walkforward service, which stands where a broker would."""
