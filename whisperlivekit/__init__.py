"""Self-hosted, real-time speech to text over WebSocket and HTTP, Russian first."""

__version__ = "0.1.0"
