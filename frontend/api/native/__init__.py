"""SGLang's own endpoints, so that what was written for one engine works with a fleet."""
