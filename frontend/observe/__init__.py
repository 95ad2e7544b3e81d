"""What operators see of a frontend."""
