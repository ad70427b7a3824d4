"""Review of conversations by physicians: a queue in a file and a local page."""
