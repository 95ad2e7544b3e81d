"""Makes the policy of a router mode."""

from random import Random

from frontend.routing.policies.kv_aware import KvAware
from frontend.routing.policies.least_loaded import LeastLoaded
from frontend.routing.policies.power_of_two import PowerOfTwo
from frontend.routing.policies.random_choice import RandomChoice
from frontend.routing.policies.round_robin import RoundRobin
from frontend.routing.policy import Policy
from frontend.routing.route import Weights
from frontend.routing.router import RouterMode


def policy_of(mode: RouterMode, weights: Weights, random: Random) -> Policy:
    """Returns the policy of a mode; `weights` are the kv mode's."""
    match mode:
        case "kv":
            return KvAware(weights, random)
        case "least-loaded":
            return LeastLoaded(random)
        case "power-of-two":
            return PowerOfTwo(random)
        case "round-robin":
            return RoundRobin()
        case "random":
            return RandomChoice(random)
