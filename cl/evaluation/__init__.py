"""From predictions to figures: counts ─► scores ─► the matrix R ─► metrics."""
