"""What workers made is handed to clients: by its name, or within an answer."""
