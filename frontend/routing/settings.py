"""Declares the settings of a frontend's router."""

from dataclasses import dataclass

from frontend.routing.route import Weights
from frontend.routing.router import RouterMode
from protocol.process.settings import setting

_WEIGHTS = Weights()


@dataclass(frozen=True, kw_only=True)
class RoutingSettings:
    """RoutingSettings are those of a frontend's settings that say where requests go."""

    router_mode: RouterMode = setting(
        "kv",
        "how a worker is chosen; kv: by cached prefix and load",
        env="KVMESH_ROUTER_MODE",
        also_env="DYN_ROUTER_MODE",
    )
    kv_events: bool = setting(
        default=True,
        help_text="follow the workers' KV events; without them kv mode goes by its own decisions",
        env="KVMESH_KV_EVENTS",
        also_env="DYN_ROUTER_USE_KV_EVENTS",
    )
    router_prefill_weight: float = setting(
        _WEIGHTS.prefill,
        "kv mode: cost of a block of a prompt that is not cached",
        env="KVMESH_ROUTER_PREFILL_WEIGHT",
    )
    router_idle_share: float = setting(
        _WEIGHTS.idle,
        "kv mode: share of that cost on a rank that has nothing to do",
        env="KVMESH_ROUTER_IDLE_SHARE",
    )
    router_waiting_weight: float = setting(
        _WEIGHTS.waiting,
        "kv mode: cost of a block that waits on a rank to be computed",
        env="KVMESH_ROUTER_WAITING_WEIGHT",
    )
    router_request_weight: float = setting(
        _WEIGHTS.request,
        "kv mode: cost of a request that runs or waits on a rank, in blocks",
        env="KVMESH_ROUTER_REQUEST_WEIGHT",
    )
    router_tie_blocks: float = setting(
        _WEIGHTS.tie,
        "kv mode: ranks that cost at most so many blocks more than the cheapest take turns",
        env="KVMESH_ROUTER_TIE_BLOCKS",
    )
    router_host_weight: float = setting(
        _WEIGHTS.host,
        "kv mode: worth of a block cached in host memory",
        env="KVMESH_ROUTER_HOST_WEIGHT",
        also_env="DYN_ROUTER_HOST_CACHE_HIT_WEIGHT",
    )
    router_disk_weight: float = setting(
        _WEIGHTS.disk,
        "kv mode: worth of a block cached on disk",
        env="KVMESH_ROUTER_DISK_WEIGHT",
        also_env="DYN_ROUTER_DISK_CACHE_HIT_WEIGHT",
    )
    router_temperature: float = setting(
        _WEIGHTS.temperature,
        "kv mode: 0 takes the cheapest rank; more spreads requests over cheap ones",
        env="DYN_ROUTER_TEMPERATURE",
    )
    disagg_min_prompt: int = setting(
        2_048, "uncached prompt tokens that are worth two workers", env="KVMESH_DISAGG_MIN_PROMPT"
    )
    router_predicted_ttl_secs: float = setting(
        10.0,
        "seconds that a routed prompt counts as cached while its KV events are awaited",
        env="DYN_ROUTER_PREDICTED_TTL_SECS",
    )
    router_ttl_secs: float = setting(
        120.0, "the same where no KV events come", env="DYN_ROUTER_TTL_SECS"
    )
    router_session_affinity_ttl_secs: float = setting(
        300.0,
        "seconds that a session (x-dynamo-session-id) without requests stays on its rank; 0: none",
        env="DYN_ROUTER_SESSION_AFFINITY_TTL_SECS",
    )
    kv_index_blocks_max: int = setting(
        4_000_000,
        "cached blocks remembered of all ranks together, some 110 bytes each",
        env="KVMESH_KV_INDEX_BLOCKS_MAX",
    )

    @property
    def follows_kv_events(self) -> bool:
        """Tells whether anything asks what the workers have cached."""
        return self.kv_events and self.router_mode == "kv"

    @property
    def router_weights(self) -> Weights:
        """Returns the weights of the kv mode."""
        return Weights(
            prefill=self.router_prefill_weight,
            idle=self.router_idle_share,
            waiting=self.router_waiting_weight,
            request=self.router_request_weight,
            host=self.router_host_weight,
            disk=self.router_disk_weight,
            temperature=self.router_temperature,
            tie=self.router_tie_blocks,
        )
