"""Games, estimators, the verdict and the run that ties them together."""
