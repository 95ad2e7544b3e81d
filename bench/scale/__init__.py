"""Draws what kvmesh costs against how much there is of something, and where each curve bends."""
