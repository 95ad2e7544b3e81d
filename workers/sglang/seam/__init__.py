"""The seam is where kvmesh relies on what SGLang does not promise; it is checked at start."""
