"""Reading protocols: which series is asked which clinical questions, and why."""
