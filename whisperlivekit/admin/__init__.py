"""The commands of an operator: checks, model files, migration, the systemd unit. Nothing that serves imports them."""
