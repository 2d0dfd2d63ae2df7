"""What an Azure ML workspace takes at once."""

from mltrack_sync.limits import Limits

__all__ = ["AZURE_LIMITS"]

AZURE_LIMITS = Limits(
    batch_metrics_max=200,
    batch_tags_max=50,
    batch_items_max=350,
    tag_value_chars_max=1000,
    history_page_rows=999,
    search_page_rows=200,
    run_params_max=200,
    run_tags_max=50,
    tag_key_chars_max=100,
    experiment_name_chars_max=256,
    artifact_path_chars_max=5000,
    model_name_pattern=r"[a-zA-Z0-9][a-zA-Z0-9\-._]{0,254}",
    unsupported=frozenset({"logged models", "traces", "evaluation datasets", "scorers", "label schemas"}),
)
"""An Azure ML workspace's, as documented or observed. Anything else that it refuses is rejected with its message."""
