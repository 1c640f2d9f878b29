"""Networks: a backbone, and a head for each kind that grows as classes arrive."""
