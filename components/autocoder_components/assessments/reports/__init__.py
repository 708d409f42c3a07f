"""What a person or a machine is shown of an assessment. Every report is a pure function of it, in a stable order."""
