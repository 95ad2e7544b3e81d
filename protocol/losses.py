"""Why workers are lost, and requests go on elsewhere."""

from typing import Literal

LossCause = Literal["stopped", "died", "silent", "unhealthy", "restarted", "out_of_step"]
"""Says why a worker is one no longer: it left on purpose; its process or engine died; nothing was
heard from it; its engine does not answer; it introduced itself anew; messages between us were lost.
"""

MoveCause = LossCause | Literal["not_handed_over"]
"""Says why a request goes on elsewhere: its worker was lost, or was not given a prompt's cache."""
