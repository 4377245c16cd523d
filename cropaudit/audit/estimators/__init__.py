"""From attack scores to lower bounds on epsilon, each with its assumptions and validity class."""
