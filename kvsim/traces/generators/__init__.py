"""Generators of prompts that share prefixes, and of client pools: `generators/NAME.py` is the key NAME of `generate:`.

A generator is a module with a spec (its keys in YAML) and `make(spec, generate, seed, name, folder) -> Trace`: the
first `generate.requests` requests by arrival, the same bytes for the same seed, which do not depend on how many they
are.
"""
