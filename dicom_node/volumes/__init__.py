"""A series as one volume in patient space, or a named reason why it is none."""
