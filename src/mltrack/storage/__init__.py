"""A store's contents on disk: experiments, runs, registry, models and traces."""
