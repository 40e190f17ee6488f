"""The pure session core: audio positions, speech gate, commit policy, state table. No IO, no clock, no model."""
