"""Takes HTTP requests and sends their answers, with bounds on what any client may cost."""
