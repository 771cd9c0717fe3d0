"""Running time of the balancing metric beside the papers' figures, peers and this machine's limits; ``--help``."""
