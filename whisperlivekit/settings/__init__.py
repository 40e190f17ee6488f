"""Settings: what can be set, where the values come from, and what they mean on this machine."""
