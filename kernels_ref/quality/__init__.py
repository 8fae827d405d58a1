"""What a policy does to a language model: its executable twin in the loop, on the activations of real text."""
