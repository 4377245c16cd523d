"""Numbers, intervals and wording that all forms share."""
