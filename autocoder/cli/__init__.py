"""The command line, one module for each command. The top floor: the framework knows nothing of it."""
