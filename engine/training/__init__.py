"""Training of the speech network: corpus, targets, loop, evaluation. Needs the extra `train`."""
