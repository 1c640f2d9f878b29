"""Memory: remembered examples, and the rules of who stays."""
