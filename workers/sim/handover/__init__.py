"""One simulated engine computes prompts, another takes their caches over and generates."""
