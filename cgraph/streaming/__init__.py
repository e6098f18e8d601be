"""Learning from streams: one sample at a time, with the metrics of prequential evaluation."""
