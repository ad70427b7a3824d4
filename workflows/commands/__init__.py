"""The commands: thin, over the steps, the roles and the read models."""
