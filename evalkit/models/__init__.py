"""What makes clips: the protocol, the registry and the adapters."""
