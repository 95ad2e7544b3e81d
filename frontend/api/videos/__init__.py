"""Videos are made by these endpoints: as jobs, or while their client waits."""
