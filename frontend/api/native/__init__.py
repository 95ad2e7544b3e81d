"""SGLang's own endpoints are served here, so that what was written for one engine works with a
fleet.
"""
