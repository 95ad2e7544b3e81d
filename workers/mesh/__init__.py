"""A worker's side of the mesh finds frontends, tells them of itself and takes their requests."""
