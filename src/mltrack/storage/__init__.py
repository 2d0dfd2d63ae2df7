"""A store's contents as they lie on disk: experiments, runs, registry, models and traces."""
