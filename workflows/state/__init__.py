"""States and their legal transitions, the tables, and the repository that changes them."""
