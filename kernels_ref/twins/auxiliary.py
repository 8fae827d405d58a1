"""Auxiliary models beside the model itself, which say nothing about which tokens pass."""

from kernels_ref.twins.part import part_of
from kernels_ref.twins.prefill import AllPass
from kvsim.traits.auxiliary import Classifier


@part_of(Classifier)
class OnlyCost(AllPass):
    """WindowKV's classifier: a cost of prefill, without a twin."""
