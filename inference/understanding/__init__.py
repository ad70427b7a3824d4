"""From a question as a person asks it to what it asks for: concepts, intent, negation, exception, side."""
