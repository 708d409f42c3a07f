"""The proof of exactly-once: processes killed at every named place and at random, judged by a separate oracle."""
