"""One audit result, many formats."""
