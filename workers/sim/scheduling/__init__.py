"""One simulated rank schedules requests and caches pages as SGLang does, pure and synchronous."""
