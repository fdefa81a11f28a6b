"""What studies and runs stored, as tables, figures and pages."""
