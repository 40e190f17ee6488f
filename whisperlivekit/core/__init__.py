"""The session core: speech gate, utterances, commit policy. It is pure: no IO, no clock, no model, no event loop."""
