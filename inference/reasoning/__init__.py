"""From masks to what can be said of them: facts first, then sentences from facts, and a check of every sentence."""
