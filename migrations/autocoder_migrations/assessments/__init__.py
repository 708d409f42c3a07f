"""The branch of migrations of the pack `assessments`."""
