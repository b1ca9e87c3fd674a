"""Networks: blocks, ResNets, networks by name, precision and weights."""
