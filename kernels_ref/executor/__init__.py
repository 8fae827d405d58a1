"""A decoder that runs the steps of a replay on a device, with the caches of the policies it executes."""
