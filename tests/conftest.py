"""What all tests share."""

from hypothesis import HealthCheck, settings

# An example that takes long on a machine that is busy with other things is no finding.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")
