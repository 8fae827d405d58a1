"""Executable twins: what each trait of a policy does to real tensors, in plain Torch on any device.

Read `states.py` (what a model gives), `cache.py` (a compressed sequence), then one trait's file. A twin is found by the
class of the trait that it belongs to: a paper composes traits, and so is executed without a line of its own.
"""
