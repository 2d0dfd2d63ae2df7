"""The pages of what a person makes by hand, and the demo: each button does what it says, or says why not."""

from __future__ import annotations

import httpx
import pytest

from tests.support.ui.looking import Look

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def demo(ui_url: str) -> str:
    """The id of the demo's experiment, which the first button of the home page makes."""
    made = httpx.post(f"{ui_url}/ajax-api/3.0/mlflow/demo/generate", json={}, timeout=300).raise_for_status().json()
    return str(made["experiment_id"])


def test_start_demo_makes_all_of_it(look: Look, demo: str) -> None:
    look.open(f"/experiments/{demo}/traces?workflowType=genai")
    look.shows("Output")
    look.shot("demo-traces")
    look.open(f"/experiments/{demo}/datasets?workflowType=genai")
    look.shows("demo-trace-level-dataset", "demo-baseline-session-dataset", "demo-improved-session-dataset")
    look.open(f"/experiments/{demo}/judges?workflowType=genai")
    look.shows("mlflow-demo.judges.correctness", "mlflow-demo.judges.safety")
    look.shot("demo-judges")
    look.open(f"/experiments/{demo}/evaluation-runs?workflowType=genai")
    look.shows("trace-level-evaluation")
    look.open(f"/experiments/{demo}/review-queue?workflowType=genai")
    look.shows("Demo Response Review")
    look.shot("demo-review")
    look.open(f"/experiments/{demo}/prompts?workflowType=genai")
    look.shows("mlflow-demo.prompts")


def test_a_dataset_is_made(look: Look, demo: str) -> None:
    look.open(f"/experiments/{demo}/datasets?workflowType=genai")
    look.click("Create dataset")
    look.page.get_by_placeholder("Enter dataset name").fill("made-by-hand")
    look.dialog().get_by_role("button", name="Create").click()
    look.settle()
    look.page.reload()  # MLflow's own page does not read its list again
    look.shows("made-by-hand")
    look.shot("dataset-made")


def make_webhook(look: Look, name: str, secret: str) -> None:
    look.open("/settings/webhooks")
    look.click("Create webhook")
    look.page.get_by_placeholder("My webhook").fill(name)
    look.page.get_by_placeholder("https://example.com/webhook").fill("https://93.184.215.14/hook")
    look.page.get_by_placeholder("Optional secret key").fill(secret)
    look.dialog().get_by_text("Registered model created").click()
    look.dialog().get_by_role("button", name="Create").click()


def test_a_webhook_is_made(look: Look) -> None:
    make_webhook(look, "made-by-hand", "")
    look.settle()
    look.page.reload()
    look.shows("made-by-hand")
    look.shot("webhook-made")


def test_a_webhook_s_secret_without_a_key_is_refused_with_words(look: Look) -> None:
    make_webhook(look, "with-secret", "hidden")
    look.shows("set MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY")
    look.shot("webhook-refused")
    look.troubles = [words for words in look.troubles if "400" not in words and "webhooks" not in words]


def test_budgets_are_kept_and_the_registry_and_the_gateway_open(look: Look) -> None:
    look.open("/gateway/budgets")
    look.click("Create budget policy")
    look.page.get_by_placeholder("e.g., 100.00").fill("10")
    look.dialog().get_by_role("button", name="Create").click()
    look.shows("$10")
    look.open("/mcp-registry")
    look.shows("Create MCP server")
    look.open("/gateway")
    look.shows("Get started with AI Gateway")
    look.shot("gateway")
