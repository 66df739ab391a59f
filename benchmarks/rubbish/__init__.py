"""Bad input of every kind, and what becomes of the service under it: ``make rubbish``, described in ``docs/dead-letters.md``."""
