"""Read models: what the gateway shows, told by the events of the services that own it."""
