"""One simulated rank schedules requests, caches pages and tells of them as SGLang does."""
