"""One mark: hit and rank, red flags, checked reasoning steps."""
