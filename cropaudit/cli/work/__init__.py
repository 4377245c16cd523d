"""What commands do with their options: the work behind each, and what they print."""
