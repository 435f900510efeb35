"""What the gateway asks of other services over private HTTP."""
