"""What runs in the process of the user's code: it serves one request, and tells what it saw."""
