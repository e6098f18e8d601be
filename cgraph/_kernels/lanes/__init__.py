"""Steps over samples that lie side by side, in lanes (batch last, CHWN)."""
