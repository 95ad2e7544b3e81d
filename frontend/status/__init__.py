"""Shows people what a frontend and its workers do at this moment, and did over the last minutes."""
