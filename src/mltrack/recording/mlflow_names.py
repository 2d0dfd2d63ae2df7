"""Names of MLflow's that the record API does not have, so that the error for one says how to get it."""

from __future__ import annotations

__all__ = ["ELSEWHERE", "how_to_get"]

ELSEWHERE = frozenset(
    """
    evaluate validate_evaluation_results models pyfunc genai metrics gateway agent ag2 agno anthropic
    autogen bedrock catboost crewai diffusers dspy gemini groq h2o haystack johnsnowlabs keras langchain
    lightgbm litellm llama_index mistral onnx openai otel paddle pmdarima prophet pydantic_ai pyspark pytorch
    rfunc semantic_kernel sentence_transformers shap sklearn smolagents spacy spark statsmodels strands
    tensorflow transformers txtai typesafe xgboost

    ActiveModel ActiveModelContext clear_active_model create_external_model delete_logged_model_tag
    finalize_logged_model get_active_model_id get_logged_model import_checkpoints initialize_logged_model
    last_logged_model log_model_params search_logged_models set_active_model set_logged_model_tags

    search_model_versions search_registered_models set_model_version_tag delete_prompt_alias load_prompt
    register_prompt search_prompts set_prompt_alias

    add_trace context delete_trace_tag flush_trace_async_logging get_active_trace_id get_current_active_span
    get_last_active_trace_id get_trace log_trace search_sessions search_traces set_trace_tag start_span
    start_span_no_context trace tracing update_current_trace delete_assessment get_assessment log_assessment
    log_expectation log_feedback log_issue override_feedback update_assessment

    create_workspace delete_workspace get_workspace list_workspaces set_workspace update_workspace config doctor
    login projects run test
    """.split()  # noqa: SIM905  # as a list of strings it would be a page
)


def how_to_get(name: str) -> str:
    """The rest of the error for a missing name; "" for one that MLflow does not have either."""
    if name not in ELSEWHERE:
        return ""
    return (
        ", only MLflow has it (docs/mlflow-differences.md): set MLFLOW_TRACKING_URI=mltrack: and import mlflow,"
        " which then records into the same store"
    )
