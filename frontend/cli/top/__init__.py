"""Shows in the terminal what a mesh does at this moment: `kvmesh top`."""
