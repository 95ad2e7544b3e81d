"""Each type of worker is a record in a file of its own, and the registry is the table of them."""
