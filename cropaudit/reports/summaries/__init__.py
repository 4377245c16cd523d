"""What the terminal shows of each kind of result: tables as data, and the words around them."""
