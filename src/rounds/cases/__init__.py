"""Where cases come from: the generator and its oracle, splits, overlap between them."""
