"""Is the twin calibrated, more accurate than simple rules, and does joining signals pay? On people on whom nothing was fitted."""
